"""The representations folder: item vectors as Parquet shards with a manifest that says how they were made.

`part-00000.parquet`, ... hold `item_id` (string) and `vector` (fixed-size list of floats), in any order of rows;
`manifest.json` holds `rows`, `dim`, `dtype`, `normalised`, what made them (`model`, `revision`, `template`, `pooling`)
and rows and SHA-256 of every shard. The manifest is written last: a folder without one is not complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.errors import UserError

FORMAT = "bifair-representations"
FORMAT_VERSION = 1
GROUP_BYTES = 4 << 20  # of a row group: small enough that a worker reads little more than its own rows
SHARD_BYTES = 256 << 20

Ids = Sequence[str] | npt.NDArray[np.object_]


def write_representations(
    folder: str | Path, item_ids: Ids, vectors: npt.NDArray[np.floating], about: Mapping[str, Any]
) -> Path:
    """Write a whole folder or nothing: it is built beside its place and moved there.

    `vectors` [N, d], float16, float32 or float64, row i belongs to `item_ids[i]`. `about` goes into the manifest.
    Raises `UserError` where the folder exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: already exists; remove it or choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        per_shard = max(1, SHARD_BYTES // max(1, vectors.shape[1] * vectors.itemsize))
        shards = [
            write_shard(temporary, number, item_ids[start : start + per_shard], vectors[start : start + per_shard])
            for number, start in enumerate(range(0, max(len(vectors), 1), per_shard))
        ]
        write_manifest(temporary, shards, about)
        try:
            os.rename(temporary, folder)
        except OSError:
            if folder.exists():
                raise UserError(f"{folder}: already exists; another process wrote it meanwhile") from None
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_shard(folder: str | Path, number: int, item_ids: Ids, vectors: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Write `part-<number>.parquet` and return its entry for the manifest: file, rows, dim, dtype and sha256.

    Several writers may share a folder, each with numbers of its own; one of them calls `write_manifest` at the end.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows, dim = vectors.shape
    if len(item_ids) != rows:
        raise ValueError(f"{len(item_ids)} ids for {rows} vectors")
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    table = pa.table(
        {"item_id": pa.array(item_ids, pa.string()), "vector": pa.FixedSizeListArray.from_arrays(flat, dim)}
    )
    path = folder / f"part-{number:05d}.parquet"
    temporary = path.with_suffix(f".{os.getpid()}.part")
    group = max(1, GROUP_BYTES // max(1, dim * vectors.itemsize))
    pq.write_table(table, temporary, row_group_size=group, compression="none", use_dictionary=False)
    digest = sha256(temporary)
    os.replace(temporary, path)
    return {"file": path.name, "rows": rows, "dim": dim, "dtype": str(vectors.dtype), "sha256": digest}


def write_manifest(folder: str | Path, shards: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Complete a folder: `shards` are the entries that `write_shard` returned, in any order."""
    listed = sorted(shards, key=lambda s: str(s["file"]))
    dims, dtypes = {s["dim"] for s in listed}, {s["dtype"] for s in listed}
    if len(dims) != 1 or len(dtypes) != 1:
        raise ValueError(f"shards differ in width {dims} or format {dtypes}")
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "rows": sum(s["rows"] for s in listed),
        "dim": dims.pop(),
        "dtype": dtypes.pop(),
        **about,
        "shards": [{k: s[k] for k in ("file", "rows", "sha256")} for s in listed],
    }
    path = Path(folder) / "manifest.json"
    temporary = path.with_suffix(f".{os.getpid()}.part")
    temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a folder, checked for its form. Raises `UserError`."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: no item representations here (manifest.json not found); "
            "make them with python -m bifair_dist.embedding"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        complete = manifest["format"] == FORMAT and all(k in manifest for k in ("rows", "dim", "dtype", "shards"))
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise UserError(
            f"{path}: not the manifest of item representations; make them again with python -m bifair_dist.embedding"
        )
    if manifest["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path}: format version {manifest['format_version']}, this program reads {FORMAT_VERSION}; embed again"
        )
    return dict(manifest)


def check_representations(folder: str | Path, item_ids: Ids) -> dict[str, Any]:
    """Manifest of a folder whose checksums hold and whose rows are exactly the items `item_ids`.

    Reads every byte once: call it in one place, before workers read their rows. Raises `UserError` otherwise.
    """
    manifest = read_manifest(folder)
    for shard in manifest["shards"]:
        path = Path(folder) / shard["file"]
        if not path.is_file():
            raise UserError(f"{path}: file is missing; make the representations again")
        if sha256(path) != shard["sha256"]:
            raise UserError(f"{path}: checksum differs from manifest.json; the file was changed, embed again")
    _positions(Path(folder), manifest, item_ids)
    return manifest


def read_rows(folder: str | Path, item_ids: Ids, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
    """Vectors of `item_ids[start:stop]` in that order, float32 [stop - start, d].

    `item_ids` are all items of the dataset, in index order. Only the row groups that hold wanted rows are read, one by
    one. Raises `UserError` where the folder is damaged, its ids are not the dataset's, or a vector is not finite.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    stop = len(item_ids) if stop is None else stop
    wanted = _positions(folder, manifest, item_ids)[start:stop]
    order = np.argsort(wanted, kind="stable")
    out = np.empty((len(wanted), manifest["dim"]), np.float32)
    first = 0  # of the row group at hand, counted over all shards
    for shard in manifest["shards"]:
        with _open(folder / shard["file"]) as file:
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                low, high = np.searchsorted(wanted, (first, first + rows), sorter=order)
                if high > low:
                    part = order[low:high]
                    out[part] = _vectors(file, number, manifest["dim"], folder / shard["file"])[wanted[part] - first]
                first += rows
    bad = ~np.isfinite(out).all(axis=1)
    if bad.any():
        example = item_ids[start + int(np.argmax(bad))]
        raise UserError(f"{folder}: {bad.sum():,} vectors are not finite, the first of item {example!r}; embed again")
    return out


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); make the representations again") from None


def _vectors(file: pq.ParquetFile, number: int, dim: int, path: Path) -> npt.NDArray[np.floating]:
    column = file.read_row_group(number, columns=["vector"])["vector"].combine_chunks()
    if not pa.types.is_fixed_size_list(column.type) or column.type.list_size != dim or column.null_count:
        raise UserError(f"{path}: column vector is not {dim} floats in every row; make the representations again")
    flat: npt.NDArray[np.floating] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, dim)


def _positions(folder: Path, manifest: Mapping[str, Any], item_ids: Ids) -> npt.NDArray[np.int64]:
    """Row of every item, counted over all shards in manifest order, int64 [N]; refuses missing, extra, double ids."""
    parts = [np.empty(0, object)]
    for shard in manifest["shards"]:
        with _open(folder / shard["file"]) as file:
            if file.metadata.num_rows != shard["rows"] or not {"item_id", "vector"} <= set(file.schema_arrow.names):
                raise UserError(f"{folder / shard['file']}: rows or columns differ from manifest.json; embed again")
            parts.append(file.read(columns=["item_id"])["item_id"].cast(pa.string()).to_numpy())
    have = np.concatenate(parts).astype(object)
    rows = {item: row for row, item in enumerate(have)}
    if len(rows) < len(have):
        seen: set[str] = set()
        twice = next(item for item in have if item in seen or seen.add(item))  # type: ignore[func-returns-value]
        raise UserError(f"{folder}: item {twice!r} has more than one vector; make the representations again")
    missing = [item for item in item_ids if item not in rows]
    extra = sorted(rows.keys() - set(item_ids))
    if missing or extra:
        told = [
            _listed(missing, "items of the dataset have no vector"),
            _listed(extra, "vectors belong to no item of it"),
        ]
        raise UserError(f"{folder}: made for another dataset: {'; '.join(t for t in told if t)}; embed this dataset")
    return np.fromiter((rows[item] for item in item_ids), np.int64, len(item_ids))


def _listed(items: Sequence[str], what: str) -> str:
    shown = ", ".join(repr(str(item)) for item in items[:3]) + (", ..." if len(items) > 3 else "")
    return f"{len(items):,} {what} ({shown})" if items else ""
