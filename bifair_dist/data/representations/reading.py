"""Reading a representations folder: a check of all of it once for a job, and the rows of one worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.data.representations.manifest import read_manifest
from bifair_dist.data.representations.number_format import STORED, from_stored
from bifair_dist.errors import UserError
from bifair_dist.files import sha256

Ids: TypeAlias = Sequence[str] | npt.NDArray[np.object_] | pa.Array


def check_representations(folder: str | Path, item_ids: Ids) -> dict[str, Any]:
    """Manifest of a folder whose checksums hold and whose rows are exactly the items `item_ids`.

    Reads every byte once: call it in one place, before workers read their rows. Raises `UserError` otherwise.
    """
    manifest = read_manifest(folder)
    check_files(Path(folder), manifest)
    check_ids(Path(folder), manifest, item_ids)
    return manifest


def read_rows(
    folder: str | Path, item_ids: Ids, start: int = 0, stop: int | None = None, dtype: npt.DTypeLike = np.float32
) -> npt.NDArray[np.floating]:
    """Vectors of `item_ids[start:stop]` in that order, `dtype` (float32 or float64) [stop - start, d].

    `item_ids` are all items of the dataset, in index order. Of an ordered folder only the shards and row groups that
    hold wanted rows are opened, and only their ids are looked at; of another one the ids of all rows are read first.
    Raises `UserError` where the folder is damaged, its ids are not the dataset's, or a vector is not finite.
    """
    folder, manifest = Path(folder), read_manifest(folder)
    start, stop, _ = slice(start, stop).indices(len(item_ids))
    if not manifest["ordered"]:
        wanted = check_ids(folder, manifest, item_ids)[start:stop]
    elif manifest["rows"] == len(item_ids):
        wanted = np.arange(start, stop)
    else:
        raise _difference(folder, manifest, item_ids)
    order = np.argsort(wanted, kind="stable")
    ascending = wanted[order]
    out = np.empty((len(wanted), manifest["dim"]), dtype)
    first = 0  # of the shard at hand, then of its row group, counted over all shards
    for shard in manifest["shards"]:
        end = first + shard["rows"]
        if np.searchsorted(ascending, first) == np.searchsorted(ascending, end):
            first = end
            continue
        with open_shard(folder, shard, manifest) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(ascending, (first, first + rows))
                if high > low:
                    part, inside = order[low:high], ascending[low:high] - first
                    ids, vectors = read_group(file, group, manifest, folder / shard["file"])
                    if manifest["ordered"]:
                        expected = as_arrow(item_ids[start + low : start + high])
                        if not ids[inside[0] : inside[-1] + 1].equals(expected):
                            raise _difference(folder, manifest, item_ids)
                    out[part] = from_stored(vectors[inside], manifest["dtype"], dtype)
                first += rows
    bad = ~np.isfinite(out).all(axis=1)
    if bad.any():
        example = str(item_ids[start + int(np.argmax(bad))])
        raise UserError(f"{folder}: {bad.sum():,} vectors are not finite, the first of item {example!r}; embed again")
    return out


def dataset_ids(dataset: str | Path) -> pa.Array:
    """Item ids of a dataset folder in item order, read from `items.parquet` alone. Raises `UserError`."""
    path = Path(dataset) / "items.parquet"
    if not path.is_file():
        raise UserError(f"{dataset}: no dataset here (items.parquet not found); make one with jobs/prepare.py")
    try:
        ids = as_arrow(pq.read_table(path, columns=["item_id"])["item_id"])
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); prepare the dataset again") from None
    if len(ids) == 0 or ids.null_count or not pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py():
        raise UserError(f"{path}: item ids are not sorted and unique, or there are none; prepare the dataset again")
    return ids


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Every shard of the manifest is there with its checksum. Raises `UserError`."""
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        if not path.is_file():
            raise UserError(f"{path}: file is missing; make the representations again")
        if sha256(path) != shard["sha256"]:
            raise UserError(f"{path}: checksum differs from manifest.json; the file was changed, embed again")


def check_ids(folder: Path, manifest: Mapping[str, Any], item_ids: Ids) -> npt.NDArray[np.int64]:
    """Row of every item, counted over all shards, int64 [N]. Raises `UserError` for missing, extra and double ids."""
    have, want = stored_ids(folder, manifest), as_arrow(item_ids)
    if have.equals(want):
        return np.arange(len(want))
    double = first_double(have)
    if double is not None:
        raise UserError(f"{folder}: item {double!r} has more than one vector; make the representations again")
    found = pc.index_in(want, value_set=have)
    missing = want.filter(pc.is_null(found))
    extra = have.filter(pc.invert(pc.is_in(have, value_set=want)))
    if len(missing) or len(extra):
        said = [
            listed(missing, "items of the dataset have no vector"),
            listed(extra.take(pc.sort_indices(extra)), "vectors belong to no item of it"),
        ]
        raise UserError(f"{folder}: made for another dataset: {'; '.join(t for t in said if t)}; embed this dataset")
    rows: npt.NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    if manifest["ordered"]:
        row = int(np.argmax(rows != np.arange(len(rows))))
        raise UserError(
            f"{folder}: manifest.json says that rows are in item order, but row {row} is of item {have[row].as_py()!r} "
            f"and not {want[row].as_py()!r}; make the representations again"
        )
    return rows


def stored_ids(folder: Path, manifest: Mapping[str, Any]) -> pa.Array:
    """Ids of all rows in their order on disk."""
    parts = []
    for shard in manifest["shards"]:
        with open_shard(folder, shard, manifest) as file:
            parts.append(as_arrow(file.read(columns=[manifest["key"]])[manifest["key"]]))
        if parts[-1].null_count:
            raise UserError(f"{folder / shard['file']}: a row has no {manifest['key']}; make the representations again")
    return pa.concat_arrays(parts) if parts else as_arrow([])


def blocks(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[Path, int, pa.Array, npt.NDArray[np.floating]]]:
    """Everything, a row group at a time: file, first row within it, ids, vectors [n, d] as float32 (float64: that)."""
    for shard in manifest["shards"]:
        path, first = folder / shard["file"], 0
        with open_shard(folder, shard, manifest) as file:
            for group in range(file.num_row_groups):
                ids, vectors = read_group(file, group, manifest, path)
                yield path, first, ids, from_stored(vectors, manifest["dtype"])
                first += len(ids)


def open_shard(folder: Path, shard: Mapping[str, Any], manifest: Mapping[str, Any]) -> pq.ParquetFile:
    """A shard whose number of rows and columns are as the manifest says. Raises `UserError`."""
    path = folder / shard["file"]
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); make the representations again") from None
    schema = file.schema_arrow
    if file.metadata.num_rows != shard["rows"] or not {manifest["key"], "vector"} <= set(schema.names):
        raise UserError(f"{path}: rows or columns differ from manifest.json; embed again")
    column = schema.field("vector").type
    element = pa.from_numpy_dtype(STORED[manifest["dtype"]])
    if not (
        pa.types.is_fixed_size_list(column) and column.list_size == manifest["dim"] and column.value_type == element
    ):
        raise UserError(f"{path}: column vector is {column}, not {manifest['dim']} {manifest['dtype']} in every row")
    return file


def read_group(
    file: pq.ParquetFile, group: int, manifest: Mapping[str, Any], path: Path
) -> tuple[pa.Array, npt.NDArray[np.generic]]:
    """Ids and vectors [n, d] of one row group, the vectors as they are stored. Raises `UserError`."""
    try:
        table = file.read_row_group(group, columns=[manifest["key"], "vector"])
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); make the representations again") from None
    ids, column = as_arrow(table[manifest["key"]]), table["vector"].combine_chunks()
    values = column.flatten()
    if ids.null_count or column.null_count or values.null_count:
        raise UserError(f"{path}: an id or a value of a vector is missing; make the representations again")
    return ids, values.to_numpy().reshape(-1, manifest["dim"])


def as_arrow(ids: Ids | pa.ChunkedArray) -> pa.Array:
    """Ids as one Arrow array of strings; the large kind, since 2 GiB of them are possible."""
    if isinstance(ids, pa.ChunkedArray):
        return ids.cast(pa.large_string()).combine_chunks()
    return ids.cast(pa.large_string()) if isinstance(ids, pa.Array) else pa.array(ids, pa.large_string())


def first_double(ids: pa.Array) -> str | None:
    """The first id that occurs for the second time, or None."""
    codes = ids.dictionary_encode().indices.to_numpy()
    fresh = np.zeros(len(codes), bool)
    fresh[np.unique(codes, return_index=True)[1]] = True
    return None if fresh.all() else str(ids[int(np.argmin(fresh))].as_py())


def listed(ids: pa.Array, what: str) -> str:
    """`4 <what> ('a', 'b', 'c', ...)`, empty for none."""
    shown = ", ".join(repr(i) for i in ids[:3].to_pylist()) + (", ..." if len(ids) > 3 else "")
    return f"{len(ids):,} {what} ({shown})" if len(ids) else ""


def _difference(folder: Path, manifest: Mapping[str, Any], item_ids: Ids) -> UserError:
    """What is wrong with the ids of an ordered folder, found from all of them: it is over anyway."""
    try:
        check_ids(folder, manifest, item_ids)
    except UserError as error:
        return error
    return UserError(f"{folder}: changed while it was read; run again")
