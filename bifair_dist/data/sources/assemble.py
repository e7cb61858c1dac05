"""From the columns every source reads to ``RawData``: ids coded, items and users aligned with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from bifair_dist.data.raw import Pairs, RawData, align, encode_ids, whole_numbers
from bifair_dist.data.reading import Notes
from bifair_dist.errors import UserError


def assemble(
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table | None = None,
    *,
    notes: Notes,
    files: Sequence[Path],
    items_path: Path,
) -> RawData:
    """``interactions``: user_id, item_id, optional rating, timestamp (numbers) and part (0, 1, 2), without nulls.

    ``items`` has item_id and title, ``users`` user_id; other columns are kept. The columns are released one by one
    while they are coded, which keeps the peak memory of large inputs down. Raises ``UserError`` where no item of the
    interactions is among the items.
    """
    names = interactions.column_names
    user_ids, user = encode_ids(interactions["user_id"])
    interactions = interactions.drop_columns(["user_id"])
    item_ids, item = encode_ids(interactions["item_id"])
    interactions = interactions.drop_columns(["item_id"])
    pairs = Pairs(
        user,
        item,
        interactions["rating"].to_numpy().astype(np.float32) if "rating" in names else None,
        whole_numbers(interactions["timestamp"]) if "timestamp" in names else None,
        interactions["part"].to_numpy().astype(np.int8) if "part" in names else None,
    )
    if not _matched("item_id", item_ids, items, items_path.name, notes):
        raise UserError(
            f"{items_path}: none of its ids ('{items['item_id'][0]}', ...) is an item of the interactions "
            f"('{item_ids[0]}', ...)"
        )
    other = _other_values(items, "item_id")
    items, repeated = align(items, "item_id", item_ids)
    notes.count("repeated item rows", repeated)
    if other:
        notes.warn(
            f"{other:,} rows of {items_path.name} repeat an item_id with other values, and only the first row of each "
            "counts; where an item has a row for each of its groups, write them into one cell as a|b"
        )
    items = items.set_column(items.column_names.index("title"), "title", _title(items["title"]))
    if users is not None:
        if other := _other_values(users, "user_id"):
            notes.warn(f"{other:,} rows of the users' table repeat a user_id with other values; the first row counts")
        if not _matched("user_id", user_ids, users, "the users' table", notes):
            notes.warn(
                f"none of the users' ids ('{users['user_id'][0]}', ...) is a user of the interactions "
                f"('{user_ids[0]}', ...): their columns are empty"
            )
        users, repeated = align(users, "user_id", user_ids)
        notes.count("repeated user rows", repeated)
    order = ["item_id", "title", *(n for n in items.column_names if n not in ("item_id", "title"))]
    return RawData(pairs, user_ids, item_ids, items.select(order), users, files, str(items_path), notes)


def _matched(key: str, ids: pa.Array, table: pa.Table, name: str, notes: Notes) -> int:
    """How many of the ids of the interactions have a row in the table; reported."""
    found = pc.sum(pc.is_in(ids, value_set=table[key].cast(pa.string()).combine_chunks())).as_py() or 0
    notes.say(f"{found:,} of {len(ids):,} {key[:-3]}s of the interactions have a row in {name}")
    return int(found)


def _other_values(table: pa.Table, key: str) -> int:
    """Rows that repeat a key with another value in some column."""
    ids = len(pc.unique(table[key]))
    if ids == len(table):
        return 0
    text = pa.table({name: _as_text(table[name]) for name in table.column_names})
    return int(text.group_by(text.column_names).aggregate([]).num_rows) - ids


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join(column, "|") if kinds.is_list(column.type) else column.cast(pa.string())


def _title(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if kinds.is_list(column.type):
        column = pc.binary_join(column, " ")
    return pc.utf8_trim_whitespace(column.cast(pa.string()))
