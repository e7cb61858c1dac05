"""Ranked lists and group tables from files of any tool, as internal indices of a dataset.

Ties: of equal scores, or ranks, in a list the smaller item id (in plain string order) stands first, as in all our
metrics. Tools that break ties otherwise, or by the order of rows, give other figures for such lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from bifair_dist.data.dataset import Dataset, Strings
from bifair_dist.data.reading import Columns, Notes, column_names, count_wanted, read_table
from bifair_dist.data.reading.lists import split_values
from bifair_dist.errors import UserError
from bifair_dist.evaluation.groups import GroupMembership

LISTS = Columns(keys=("user_id", "item_id"), numbers=("rank", "score"))


def read_lists(path: Path, dataset: Dataset, k: int, notes: Notes | None = None) -> tuple[Tensor, Tensor]:
    """(users int64 [U], items int64 [U, k], best first, -1 where a list ends early) of a file.

    Columns `user_id`, `item_id`, and `rank` (the lowest first) or `score` (the highest first). Ties are reported in
    `notes`. Raises `UserError` for missing columns, ids that the dataset does not have, an item twice in a list, or
    values that are no numbers.
    """
    notes = notes or Notes()
    return index_lists(read_table(path, LISTS, notes), dataset, k, path, notes)


def index_lists(
    table: pa.Table, dataset: Dataset, k: int, path: Path, notes: Notes | None = None
) -> tuple[Tensor, Tensor]:
    """The same for rows of the file that are read already."""
    order = next((name for name in ("rank", "score") if name in table.column_names), None)
    if order is None:
        raise UserError(f"{path}: no column 'rank' or 'score', by which a list is in order")
    user = _all_known(table["user_id"], dataset.user_ids, "user_id", path)
    item = _all_known(table["item_id"], dataset.item_ids, "item_id", path)
    by = table[order].cast(pa.float64()).to_numpy() * (1.0 if order == "rank" else -1.0)
    pairs = user * dataset.n_items + item
    _, first = np.unique(pairs, return_index=True)
    if len(first) < len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), first)[0])
        raise UserError(f"{path}: row {row + 1}: the item stands twice in the list of this user; keep its best place")
    at = np.lexsort((item, by, user))
    user, item, by = user[at], item[at], by[at]
    users, first = np.unique(user, return_index=True)
    place = np.arange(len(user)) - np.repeat(first, np.diff(np.append(first, len(user))))
    items = np.full((len(users), k), -1, np.int64)
    kept = place < k
    items[np.searchsorted(users, user[kept]), place[kept]] = item[kept]
    tied = int(((np.diff(user) == 0) & (np.diff(by) == 0) & kept[:-1]).sum())
    if tied and notes is not None:
        notes.say(f"{tied:,} places have the {order} of the next in their list: the smaller item id stands first")
    return torch.from_numpy(users), torch.from_numpy(items)


def read_groups(path: Path, dataset: Dataset, notes: Notes) -> GroupMembership:
    """A group table named like its file: columns `item_id` or `user_id`, and `group`; several groups each allowed.

    Cells are split as `jobs/prepare.py` splits them; an empty one is no group. Rows of ids that the dataset does not
    have are left out and reported. Raises `UserError` where no row is left.
    """
    entity = _entity(path)
    table = read_table(path, Columns(keys=[f"{entity}_id"], text=["group"]), notes)
    index = _index(table[f"{entity}_id"], dataset.item_ids if entity == "item" else dataset.user_ids)
    row, value = split_values(table["group"], path.name, notes)
    left_out = int((index < 0).sum())
    if left_out:
        notes.say(f"{path.name}: {left_out:,} of {len(index):,} rows are of {entity}s that the dataset does not have")
    there = index[row] >= 0
    row, value = row[there], value.filter(pa.array(there))
    if not len(row):
        raise UserError(f"{path}: no row has a group and an {entity}_id of the dataset")
    labels = sorted(value.unique().to_pylist())
    code = pc.index_in(value, value_set=pa.array(labels)).to_numpy().astype(np.int64)
    pairs = np.unique(np.stack([index[row], code]), axis=1)
    name = path.name.partition(".")[0]
    members, groups = torch.from_numpy(pairs[0].copy()), torch.from_numpy(pairs[1].copy())
    return GroupMembership(name, entity, tuple(labels), members, groups)


def _entity(path: Path) -> Literal["item", "user"]:
    """Whose groups a table gives: users' where it has a user_id and no item_id."""
    names = column_names(path, Columns(keys=("item_id", "user_id"), text=("group",)))
    user, item = (count_wanted(names, Columns(keys=[key])) for key in ("user_id", "item_id"))
    return "user" if user and not item else "item"


def _index(ids: pa.ChunkedArray, known: Strings) -> npt.NDArray[np.int64]:
    """Index of every id among the known ones, -1 where it is not: each distinct id is looked up once."""
    parts = [np.empty(0, np.int64)]
    for chunk in ids.dictionary_encode().chunks:
        found = pc.index_in(chunk.dictionary.cast(pa.string()), value_set=pa.array(known, pa.string()))
        places = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        parts.append(places[chunk.indices.to_numpy(zero_copy_only=False)])
    return np.concatenate(parts)


def _all_known(ids: pa.ChunkedArray, known: Strings, column: str, path: Path) -> npt.NDArray[np.int64]:
    index = _index(ids, known)
    if (index < 0).any():
        row = int((index < 0).argmax())
        raise UserError(
            f"{path}: row {row + 1}: {column} '{ids[row]}' is not in the dataset "
            f"({int((index < 0).sum()):,} rows have such ids)"
        )
    return index
