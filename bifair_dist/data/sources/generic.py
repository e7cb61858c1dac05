"""The generic layout: ``interactions``, ``items`` and optionally ``users``, each as .csv, .tsv, .parquet and others.

interactions: user_id, item_id[, rating][, timestamp]; items: item_id, title[, ...]; users: user_id[, ...]. Each is one
file or a folder of parts. Other columns of items and users are kept.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Columns, Notes, beside, find_table, read_table
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.registry import source
from bifair_dist.errors import UserError

PAIRS = Columns(keys=("user_id", "item_id"), numbers=("rating", "timestamp"))


@source("generic", ("interactions*", "items*"))
def read_generic(path: Path, notes: Notes) -> RawData:
    """interactions, items and optionally users, each a .csv, .tsv, .parquet, .jsonl or .arrow, or a folder of them."""
    interactions = find_table(path, "interactions")
    if interactions is None:
        hint = beside(path, "interactions") or "; give the folder that holds it"
        raise UserError(f"{path}: no interactions.csv or interactions.parquet found{hint}")
    pairs = read_table(interactions, PAIRS, notes)
    items_path, items = read_items(path, notes)
    users_path = find_table(path, "users")
    users = read_table(users_path, Columns(keys=["user_id"], rest=True), notes) if users_path else None
    files = [interactions, items_path, *([users_path] if users_path else [])]
    return assemble(pairs, items, users, notes=notes, files=files, items_path=items_path)


def read_items(path: Path, notes: Notes) -> tuple[Path, pa.Table]:
    """The items table of a folder, with its path. Raises ``UserError`` without it, or without a title column."""
    items_path = find_table(path, "items")
    if items_path is None:
        hint = beside(path, "items") or "; it must give a title for every item_id"
        raise UserError(f"{path}: no items.csv or items.parquet found{hint}")
    return items_path, read_table(items_path, Columns(keys=["item_id"], text=["title"], rest=True), notes)
