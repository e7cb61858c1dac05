"""The representations folder: item vectors as Parquet shards with a manifest that says how they were made.

`part-00000.parquet`, ... hold `item_id` (string) and `vector` (fixed-size list of numbers; bfloat16 as its bits in
uint16), rows in the order of the dataset's items where the manifest says `ordered`, else in any; `manifest.json` holds
`rows`, `dim`, `dtype`, `normalised`, what made them (`model`, `revision`, `template`, `pooling`) and rows and SHA-256
of every shard. The manifest is written last: a folder without one is not complete. `failed.parquet` may lie beside.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.data.representations.manifest import FORMAT, FORMAT_VERSION, read_manifest, write_manifest
from bifair_dist.data.representations.number_format import STORED, from_stored, to_stored
from bifair_dist.data.representations.reading import Ids, as_arrow, check_representations, read_rows
from bifair_dist.errors import UserError
from bifair_dist.files import sha256, writing

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "GROUP_BYTES",
    "SHARD_BYTES",
    "Ids",
    "building",
    "check_representations",
    "read_manifest",
    "read_rows",
    "rows_per_shard",
    "write_manifest",
    "write_representations",
    "write_shard",
]

GROUP_BYTES = 4 << 20  # of a row group: small enough that a worker reads little more than its own rows
SHARD_BYTES = 256 << 20


def write_representations(
    folder: str | Path,
    item_ids: Ids,
    vectors: npt.NDArray[np.floating],
    about: Mapping[str, Any],
    *,
    dtype: str = "",
    ordered: bool = False,
) -> Path:
    """Write a whole folder or nothing.

    `vectors` [N, d] of floats, row i belongs to `item_ids[i]`; stored as `dtype`, empty: as they come. `about` goes
    into the manifest. `ordered`: rows are the dataset's items in its order. Raises `UserError` where the folder exists.
    """
    dtype = dtype or str(vectors.dtype)
    with building(folder) as place:
        size = rows_per_shard(vectors.shape[1], dtype)
        shards = [
            write_shard(place, number, item_ids[start : start + size], vectors[start : start + size], dtype=dtype)
            for number, start in enumerate(range(0, max(len(vectors), 1), size))
        ]
        write_manifest(place, shards, about, ordered=ordered)
    return Path(folder)


@contextmanager
def building(folder: str | Path) -> Iterator[Path]:
    """A place beside `folder` to write to. It becomes `folder` at the end; after an error nothing is left of it.

    Raises `UserError` where `folder` exists, before or by then, or where there is no room to write.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: already exists; remove it or choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, folder)
    except OSError as error:
        if folder.exists():
            raise UserError(f"{folder}: already exists; another process wrote it meanwhile") from None
        reason = error.strerror or str(error).splitlines()[0]
        raise UserError(f"{folder}: cannot be written ({reason}); make room or choose another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rows_per_shard(dim: int, dtype: str) -> int:
    """Rows that make `SHARD_BYTES`, at least one."""
    return max(1, SHARD_BYTES // max(1, dim * np.dtype(STORED[dtype]).itemsize))


def write_shard(
    folder: str | Path,
    number: int,
    item_ids: Ids,
    vectors: npt.NDArray[np.floating],
    *,
    dtype: str = "",
    key: str = "item_id",
) -> dict[str, Any]:
    """Write `part-<number>.parquet` and return its entry for the manifest: file, rows, dim, dtype and sha256.

    `vectors` [n, d] are rounded to `dtype` (float16, bfloat16, float32, float64; empty: as they come). Several writers
    may share a folder, each with numbers of its own; one of them calls `write_manifest` at the end. Raises `UserError`
    where a value is too large for `dtype`. `key` names the column of ids; the manifest has it where it is another.
    """
    folder, dtype = Path(folder), dtype or str(vectors.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    rows, dim = vectors.shape
    if len(item_ids) != rows:
        raise ValueError(f"{len(item_ids)} ids for {rows} vectors")
    stored = to_stored(vectors, dtype)
    if dtype != str(vectors.dtype):
        _check_range(stored, vectors, item_ids, dtype)
    flat = pa.array(np.ascontiguousarray(stored).reshape(-1))
    ids = as_arrow(item_ids).cast(pa.string())
    table = pa.table({key: ids, "vector": pa.FixedSizeListArray.from_arrays(flat, dim)})
    path = folder / f"part-{number:05d}.parquet"
    group = max(1, GROUP_BYTES // max(1, dim * stored.itemsize))
    with writing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=group, compression="none", use_dictionary=False)
        digest = sha256(temporary)
    return {"file": path.name, "rows": rows, "dim": dim, "dtype": dtype, "sha256": digest}


def _check_range(stored: npt.NDArray[np.generic], vectors: npt.NDArray[np.floating], item_ids: Ids, dtype: str) -> None:
    """No finite value may have become infinite."""
    lost = (~np.isfinite(from_stored(stored, dtype)) & np.isfinite(vectors)).any(axis=1)
    if lost.any():
        row = int(np.argmax(lost))
        largest = np.abs(vectors[row]).max()
        raise UserError(
            f"item {str(item_ids[row])!r} has a value of {largest:.3g}, too large for {dtype}; take --dtype float32 or "
            "scale the vectors"
        )
