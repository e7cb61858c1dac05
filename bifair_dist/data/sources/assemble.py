"""From the columns every source reads to ``RawData``: ids coded, items and users aligned with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.raw import Pairs, RawData, align, encode_ids, whole_numbers


def assemble(
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table | None = None,
    *,
    files: Sequence[Path],
    items_path: Path,
) -> RawData:
    """``interactions``: user_id, item_id, optional rating, timestamp (numbers) and part (0, 1, 2), without nulls.

    ``items`` has item_id and title, ``users`` user_id; other columns are kept. The columns are released one by one
    while they are coded, which keeps the peak memory of large inputs down.
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
    items, repeated_items = align(items, "item_id", item_ids)
    title = pc.utf8_trim_whitespace(items["title"].cast(pa.string()))
    items = items.set_column(items.column_names.index("title"), "title", title)
    repeated_users = 0
    if users is not None:
        users, repeated_users = align(users, "user_id", user_ids)
    notes = {"repeated item rows": repeated_items, "repeated user rows": repeated_users}
    return RawData(
        pairs,
        user_ids,
        item_ids,
        items.select(["item_id", "title", *(n for n in items.column_names if n not in ("item_id", "title"))]),
        users,
        files,
        str(items_path),
        {name: count for name, count in notes.items() if count},
    )
