"""A recommender as a folder of its own, which needs neither its run nor its dataset.

`model.safetensors`: `items` [N, k] and `users` [U, k] (inner products are scores), `inputs` [N, w] and `lower` [N, k]
(`model/unseen.py`), the projector as `theta.<name>`. `items.parquet` (item_id, title), `users.parquet` (user_id) and
`pairs.parquet` (user and item as row numbers, split), rows in the order of the matrices. `config.json` is written last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bifair_dist.errors import UserError
from bifair_dist.model.unseen import Unseen
from bifair_dist.serving.recommender import Recommender, Strings

CONFIG, FORMAT, VERSION = "config.json", "bifair-recommender", 1
_SPLITS = ("train", "valid", "test")


def is_model(folder: Path) -> bool:
    """Whether `write_model` completed this folder."""
    return (folder / CONFIG).is_file()


def write_model(model: Recommender, folder: Path, about: Mapping[str, Any]) -> None:
    """Write into a folder that exists; `about` goes into `config.json`."""
    unseen = model.unseen
    tensors = {"items": model.items, "users": model.users, "inputs": unseen.inputs, "lower": unseen.lower}
    tensors |= {f"theta.{name}": t for name, t in unseen.theta.items()}
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
    write_ids(model, folder)
    parts = [
        pa.table({"user": model.pairs[split][0], "item": model.pairs[split][1]}).append_column(
            "split", pa.array([split] * len(model.pairs[split][0]), pa.string())
        )
        for split in _SPLITS
    ]
    pq.write_table(pa.concat_tables(parts), folder / "pairs.parquet")
    config = {"format": FORMAT, "format_version": VERSION, "layers": unseen.layers, "unit": unseen.unit, **about}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_ids(model: Recommender, folder: Path) -> None:
    """`items.parquet` and `users.parquet`: what the rows of the vectors are."""
    titles = pa.array(model.titles, pa.string())
    pq.write_table(
        pa.table({"item_id": pa.array(model.item_ids, pa.string()), "title": titles}), folder / "items.parquet"
    )
    pq.write_table(pa.table({"user_id": pa.array(model.user_ids, pa.string())}), folder / "users.parquet")


def read_model(folder: Path) -> Recommender:
    """The recommender that was written there. Raises `UserError` where the folder is not one, or is damaged."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.get("format") != FORMAT or config.get("format_version") != VERSION:
            raise UserError(f"{folder / CONFIG}: not {FORMAT} of version {VERSION}; export the run again")
        tensors = load_file(folder / "model.safetensors")
        theta = {name.removeprefix("theta."): t for name, t in tensors.items() if name.startswith("theta.")}
        unseen = Unseen(theta, tensors["inputs"], tensors["lower"], config["layers"], config["unit"])
        items, users = pq.read_table(folder / "items.parquet"), pq.read_table(folder / "users.parquet")
        pairs = pq.read_table(folder / "pairs.parquet")
        ids = _strings(items["item_id"]), _strings(items["title"]), _strings(users["user_id"])
        split = {name: pairs.filter(pc.equal(pairs["split"], name)) for name in _SPLITS}
        known = {name: (part["user"].to_numpy(), part["item"].to_numpy()) for name, part in split.items()}
        return Recommender(*ids, tensors["items"], tensors["users"], known, lambda: unseen)
    except (OSError, ValueError, KeyError, pa.ArrowException, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: cannot be read as an exported model ({reason}); export the run again") from None


def _strings(column: pa.ChunkedArray) -> Strings:
    return np.asarray(column.to_numpy(), dtype=object)
