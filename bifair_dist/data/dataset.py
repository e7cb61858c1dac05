"""The dataset folder, read back: the one form in which every later stage sees the data.

Folder: ``items.parquet`` (item_id, title, ...), ``users.parquet`` (user_id, ...),
``interactions/{train,valid,test}.parquet`` (user_id, item_id[, timestamp]), ``groups/<name>.parquet``
(entity, entity_id, group) and ``manifest.json`` (format version, counts, options, seed, SHA-256 of every file, order of
labels).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.errors import UserError, inside
from bifair_dist.files import sha256

FORMAT = "bifair-dataset"
FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")

Index = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.signedinteger[Any]]
Strings = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Interactions:
    """E user-item pairs of one split: indices, sorted by (user, item), no duplicates; int32 where they were read."""

    user: Pairs
    item: Pairs

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Membership of items or users in groups: M pairs sorted by (entity, group); an entity may have none or several.

    ``labels[g]`` names group ``g``; the order of the labels is the order of the groups everywhere.
    """

    name: str
    entity: Literal["item", "user"]
    labels: tuple[str, ...]
    entity_index: Index
    group_index: Index

    def sizes(self) -> Index:
        """Members per group, int64 [G]."""
        return np.bincount(self.group_index, minlength=len(self.labels)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole dataset folder. ``item_ids``, ``user_ids`` and ``titles`` are object arrays of str in index order.

    Internal indices are row numbers of items.parquet and users.parquet, which are sorted by id in plain string order.
    """

    folder: Path
    item_ids: Strings
    user_ids: Strings
    titles: Strings
    train: Interactions
    valid: Interactions
    test: Interactions
    groups: dict[str, GroupTable]
    manifest: dict[str, Any]

    @property
    def n_items(self) -> int:
        """Items in the catalogue, N."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Users, U."""
        return len(self.user_ids)


def read_dataset(folder: str | Path, *, verify: bool = True) -> Dataset:
    """Read a dataset folder written by ``jobs/prepare.py``.

    ``verify`` compares the SHA-256 of every file with the manifest (about 1 s per 500 MB).
    Raises ``UserError`` where something is missing, changed since it was written, or inconsistent.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, digest in manifest["checksums"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: file is missing; prepare the dataset again")
        if verify and sha256(path) != digest:
            raise UserError(f"{path}: checksum differs from manifest.json; the file was changed, prepare again")
    items = _read_parquet(folder / "items.parquet", ["item_id", "title"])
    users = _read_parquet(folder / "users.parquet", ["user_id"])
    item_ids = _sorted_ids(items["item_id"], folder / "items.parquet")
    user_ids = _sorted_ids(users["user_id"], folder / "users.parquet")
    train, valid, test = (
        _read_interactions(folder / "interactions" / f"{split}.parquet", user_ids, item_ids) for split in SPLITS
    )
    groups = {
        name: _read_group(folder / "groups" / f"{name}.parquet", name, about, user_ids, item_ids)
        for name, about in manifest["groups"].items()
    }
    return Dataset(
        folder,
        _strings(item_ids),
        _strings(user_ids),
        _strings(items["title"].combine_chunks()),
        train,
        valid,
        test,
        groups,
        manifest,
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset folder, and nothing else of it. Raises ``UserError`` where it is not one."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(f"{folder}: no dataset here (manifest.json not found); make one with jobs/prepare.py")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); prepare the dataset again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path}: not the manifest of a dataset folder (format is not '{FORMAT}')")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; prepare again")
    for key in ("checksums", "groups", "counts"):
        if not isinstance(manifest.get(key), dict):
            raise UserError(f"{path}: key '{key}' is missing; prepare the dataset again")
    for name in (*manifest["checksums"], *manifest["groups"]):
        inside(name, str(path))
    return manifest


def _read_parquet(path: Path, columns: list[str]) -> pa.Table:
    if not path.is_file():
        raise UserError(f"{path}: file is missing; prepare the dataset again")
    try:
        return pq.read_table(path, columns=columns, read_dictionary=[c for c in columns if c.endswith("_id")])
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _sorted_ids(column: pa.ChunkedArray, path: Path) -> pa.Array:
    ids = column.cast(pa.string()).combine_chunks()
    if len(ids) == 0:
        raise UserError(f"{path}: no rows; prepare the dataset again")
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        raise UserError(f"{path}: ids are not sorted and unique; prepare the dataset again")
    return ids


def _strings(array: pa.Array) -> Strings:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=object)


def _to_index(column: pa.ChunkedArray, ids: pa.Array, path: Path) -> Index:
    """Internal index of every id: each distinct id is looked up once per row group."""
    parts = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        found = pc.index_in(chunk.dictionary.cast(pa.string()), value_set=ids)
        if found.null_count:
            unknown = chunk.dictionary.filter(pc.is_null(found))[0]
            raise UserError(f"{path}: id '{unknown}' is not in the dataset; prepare the dataset again")
        codes = chunk.indices.to_numpy(zero_copy_only=False)
        parts.append(found.to_numpy(zero_copy_only=False).astype(np.int64)[codes])
    return np.concatenate(parts)


def _read_interactions(path: Path, user_ids: pa.Array, item_ids: pa.Array) -> Interactions:
    """A row group at a time, so that the ids of few pairs are in memory."""
    table = _open(path)
    n = table.metadata.num_rows
    user, item, at, last = np.empty(n, np.int32), np.empty(n, np.int32), 0, np.int64(-1)
    for group in range(table.num_row_groups):
        rows = _row_group(table, group, path)
        users, items = _to_index(rows["user_id"], user_ids, path), _to_index(rows["item_id"], item_ids, path)
        keys = users * len(item_ids) + items
        if np.any(np.diff(keys, prepend=last) <= 0):
            raise UserError(f"{path}: pairs are not sorted by user and item, or occur twice; prepare the dataset again")
        user[at : at + len(users)], item[at : at + len(users)] = users, items
        at, last = at + len(users), keys[-1] if len(keys) else last
    return Interactions(user, item)


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"{path}: file is missing; prepare the dataset again")
    try:
        return pq.ParquetFile(path, read_dictionary=["user_id", "item_id"])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _row_group(table: pq.ParquetFile, group: int, path: Path) -> pa.Table:
    try:
        found = table.read_row_group(group, columns=["user_id", "item_id"])
        if found.num_columns != 2:
            raise KeyError("user_id or item_id is missing")
        return found
    except (pa.ArrowException, KeyError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error


def _read_group(path: Path, name: str, about: dict[str, Any], user_ids: pa.Array, item_ids: pa.Array) -> GroupTable:
    table = _read_parquet(path, ["entity", "entity_id", "group"])
    labels = tuple(about["labels"])
    entity = _to_index(table["entity_id"], item_ids if about["entity"] == "item" else user_ids, path)
    found = pc.index_in(table["group"].combine_chunks(), value_set=pa.array(labels, pa.string()))
    if found.null_count:
        raise UserError(f"{path}: a group is not among the labels in manifest.json; prepare the dataset again")
    return GroupTable(name, about["entity"], labels, entity, found.to_numpy(zero_copy_only=False).astype(np.int64))
