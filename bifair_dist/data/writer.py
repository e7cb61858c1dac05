"""Write a dataset folder all or nothing: a hidden sibling folder is filled first and renamed at the end."""

from __future__ import annotations

import json
import platform
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import bifair_dist
from bifair_dist.data.dataset import FORMAT, FORMAT_VERSION, SPLITS, GroupTable, Interactions
from bifair_dist.errors import UserError
from bifair_dist.files import sha256

ROW_GROUP = 1 << 20  # rows written at a time: bounds the memory spent on strings


def check_target(folder: Path) -> None:
    """Raise ``UserError`` where the folder to be written exists already: nothing is ever overwritten."""
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder}: exists already; choose another --out or remove it first")


def write_dataset(
    folder: Path,
    *,
    items: pa.Table,
    users: pa.Table,
    splits: Mapping[str, Interactions],
    groups: Iterable[GroupTable],
    manifest: Mapping[str, Any],
    timestamps: Mapping[str, npt.NDArray[np.int64]] | None = None,
) -> dict[str, Any]:
    """Write the folder and return its manifest.

    ``items`` (item_id, title, ...) and ``users`` (user_id, ...) are sorted by id; ``splits`` has train, valid and test
    (sorted by user, item), ``timestamps`` one array per split. ``manifest`` is completed with format, versions, counts,
    label order and checksums. Raises ``UserError`` if the folder exists or cannot be written.
    """
    check_target(folder)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        partial.mkdir(parents=True)
        (partial / "interactions").mkdir()
        (partial / "groups").mkdir()
        _write(partial / "items.parquet", items)
        _write(partial / "users.parquet", users)
        for split in SPLITS:
            path = partial / "interactions" / f"{split}.parquet"
            _write_interactions(path, splits[split], users["user_id"], items["item_id"], (timestamps or {}).get(split))
        group_list = list(groups)
        for table in group_list:
            ids = items["item_id"] if table.entity == "item" else users["user_id"]
            _write(partial / "groups" / f"{table.name}.parquet", _group_rows(table, ids))
        whole = _complete_manifest(manifest, items, users, splits, group_list)
        files = sorted(path for path in partial.rglob("*.parquet"))
        whole["checksums"] = {path.relative_to(partial).as_posix(): sha256(path) for path in files}
        (partial / "manifest.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        check_target(folder)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return whole


def _complete_manifest(
    manifest: Mapping[str, Any],
    items: pa.Table,
    users: pa.Table,
    splits: Mapping[str, Interactions],
    groups: list[GroupTable],
) -> dict[str, Any]:
    pairs = {split: len(splits[split]) for split in SPLITS}
    total = sum(pairs.values())
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": {
            "bifair_dist": bifair_dist.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
        **manifest,
        "counts": {
            "users": users.num_rows,
            "items": items.num_rows,
            "pairs": total,
            **pairs,
            "density": total / (users.num_rows * items.num_rows),
        },
        "groups": {
            table.name: {"entity": table.entity, "labels": list(table.labels), "sizes": table.sizes().tolist()}
            for table in groups
        },
    }


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)


def _write_interactions(
    path: Path,
    pairs: Interactions,
    user_ids: pa.ChunkedArray,
    item_ids: pa.ChunkedArray,
    timestamp: npt.NDArray[np.int64] | None,
) -> None:
    fields = [("user_id", pa.string()), ("item_id", pa.string())]
    if timestamp is not None:
        fields.append(("timestamp", pa.int64()))
    users, items = user_ids.combine_chunks(), item_ids.combine_chunks()
    with pq.ParquetWriter(path, pa.schema(fields), compression="zstd") as writer:
        for start in range(0, len(pairs), ROW_GROUP):
            rows = slice(start, start + ROW_GROUP)
            columns = [users.take(pa.array(pairs.user[rows])), items.take(pa.array(pairs.item[rows]))]
            if timestamp is not None:
                columns.append(pa.array(timestamp[rows]))
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))


def _group_rows(table: GroupTable, ids: pa.ChunkedArray) -> pa.Table:
    labels = pa.array(table.labels, pa.string())
    return pa.table(
        {
            "entity": pa.array([table.entity]).take(pa.array(np.zeros(len(table.entity_index), np.int64))),
            "entity_id": ids.take(pa.array(table.entity_index)),
            "group": labels.take(pa.array(table.group_index)),
        }
    )
