"""Items that training did not see, from their texts: encoded as the run's own item vectors were, then projected.

    text --template, model, prompt of the run's representations--> z --model/unseen.py--> g(z) / (L + 1)

Training refined Z row by row; an item that it did not see has no such row, so its z is the encoder's. What that costs:
docs/serving.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bifair_dist.data.representations import read_manifest
from bifair_dist.embedding.again import embed_again
from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.serving.recommender import Recommender


def with_new_items(run: Run, model: Recommender, items: pd.DataFrame) -> Recommender:
    """The recommender with further items, which are ranked, similar to others, and may be in a history.

    `items`: `item_id`, `title` and the other columns that the run's template names; with a column `vector`, made
    elsewhere by the same encoder, nothing is encoded. Raises `UserError`.
    """
    for name in ("item_id", "title"):
        if name not in items:
            raise UserError(f"new items: no column {name}; give item_id, title, and what the run's texts are made of")
    if not len(items):
        raise UserError("new items: none given")
    ids, titles = items["item_id"].astype(str).tolist(), items["title"].astype(str).tolist()
    source = run.config["data"]["representations"]
    if not source:
        raise UserError("new items: the run is on id embeddings, which texts say nothing to; train bifair or alpharec")
    manifest = read_manifest(source)
    if "vector" in items:
        rows = [np.asarray(vector, np.float32) for vector in items["vector"]]
        wrong = next((n for n, row in enumerate(rows) if row.shape != (manifest["dim"],)), None)
        if wrong is not None:
            raise UserError(f"new items: the vector of {ids[wrong]!r} is not {manifest['dim']} wide, as the run's are")
        z = np.stack(rows)
    elif "settings" not in manifest:
        raise UserError(f"new items: {source} does not say how texts were encoded; give a column `vector`")
    else:
        with tempfile.TemporaryDirectory() as place:
            items.assign(item_id=ids, title=titles).to_parquet(Path(place) / "items.parquet", index=False)
            z = embed_again({**manifest, "dataset": place}, ids)
    return model.with_items(ids, titles, torch.from_numpy(z).to(model.items.dtype))
