"""Ranked lists and group tables from files of any tool, as internal indices of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bifair_dist.errors import UserError
from bifair_dist.evaluation.groups import GroupMembership

if TYPE_CHECKING:  # reading one needs pyarrow, ranking does not
    from bifair_dist.data.dataset import Dataset


def read_lists(path: Path, dataset: Dataset, k: int) -> tuple[Tensor, Tensor]:
    """(users int64 [U], items int64 [U, k], best first, -1 where a list ends early) of a file.

    Columns `user_id`, `item_id`, and `rank` (the lowest first) or `score` (the highest first). Raises `UserError` for
    missing columns, ids that the dataset does not have, an item twice in a list, or values that are no numbers.
    """
    return index_lists(read_table(path), dataset, k, path)


def index_lists(table: pd.DataFrame, dataset: Dataset, k: int, path: Path) -> tuple[Tensor, Tensor]:
    """The same for rows of the file that are read already."""
    order = "rank" if "rank" in table else "score"
    _need(table, ["user_id", "item_id", order], path)
    user = _index(table["user_id"], dataset.user_ids, "user_id", path)
    item = _index(table["item_id"], dataset.item_ids, "item_id", path)
    by = pd.to_numeric(table[order], errors="coerce").to_numpy(np.float64)
    if np.isnan(by).any():
        raise UserError(f"{path}: row {int(np.isnan(by).argmax()) + 1}: {order} is not a number")
    pairs = user * dataset.n_items + item
    if len(np.unique(pairs)) < len(pairs):
        row = int(pd.Series(pairs).duplicated().to_numpy().argmax())
        raise UserError(f"{path}: row {row + 1}: the item stands twice in the list of this user; keep its best place")
    # Equal scores by item, as everywhere.
    at = np.lexsort((item, by if order == "rank" else -by, user))
    user, item = user[at], item[at]
    users, first = np.unique(user, return_index=True)
    place = np.arange(len(user)) - np.repeat(first, np.diff(np.append(first, len(user))))
    items = np.full((len(users), k), -1, np.int64)
    kept = place < k
    items[np.searchsorted(users, user[kept]), place[kept]] = item[kept]
    return torch.from_numpy(users), torch.from_numpy(items)


def read_groups(path: Path, dataset: Dataset) -> GroupMembership:
    """A group table named like its file: columns `item_id` or `user_id`, and `group`; several groups each allowed."""
    table = read_table(path)
    entity: Literal["item", "user"] = "item" if "item_id" in table else "user"
    _need(table, [f"{entity}_id", "group"], path)
    ids = dataset.item_ids if entity == "item" else dataset.user_ids
    index = _index(table[f"{entity}_id"], ids, f"{entity}_id", path)
    code, labels = pd.factorize(table["group"].astype(str), sort=True)
    pairs = np.unique(np.stack([index, code.astype(np.int64)]), axis=1)
    name = path.name.partition(".")[0]
    members, groups = torch.from_numpy(pairs[0].copy()), torch.from_numpy(pairs[1].copy())
    return GroupMembership(name, entity, tuple(map(str, labels)), members, groups)


def read_table(path: Path) -> pd.DataFrame:
    """A Parquet or CSV file, ids as text. Raises `UserError`."""
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype={"user_id": str, "item_id": str, "group": str}, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def _need(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    for column in columns:
        if column not in table:
            raise UserError(f"{path}: no column {column!r}; it has: {', '.join(map(str, table.columns))}")
    if not len(table):
        raise UserError(f"{path}: no rows")


def _index(ids: Any, known: Any, column: str, path: Path) -> np.ndarray:
    found = pd.Index(known).get_indexer(pd.Index(ids.astype(str)))
    if (found < 0).any():
        row = int((found < 0).argmax())
        raise UserError(
            f"{path}: row {row + 1}: {column} {str(ids.iloc[row])!r} is not in the dataset "
            f"({int((found < 0).sum()):,} rows have such ids)"
        )
    return np.asarray(found, np.int64)
