"""The generic layout: ``interactions``, ``items`` and optionally ``users``, each as .csv, .csv.gz or .parquet.

interactions: user_id, item_id[, rating][, timestamp]; items: item_id, title[, ...]; users: user_id[, ...].
Lists in a cell are separated by ``|``. Other columns of items and users are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.data.raw import RawData, no_rows
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.delimited import Layout, header, read_delimited, require_columns
from bifair_dist.errors import UserError

ENDINGS = (".csv", ".csv.gz", ".parquet")


def read_generic(path: Path) -> RawData:
    """Read a folder in the generic layout; ``.parquet`` may hold ids of any type, they become strings."""
    interactions = find_table(path, "interactions")
    if interactions is None:
        raise UserError(f"{path}: no interactions.csv or interactions.parquet found; give the folder that holds it")
    pairs = read_table(interactions, ["user_id", "item_id"], optional_numbers=["rating", "timestamp"], rest=False)
    items_path, items = read_items(path)
    users_path = find_table(path, "users")
    users = read_table(users_path, ["user_id"]) if users_path else None
    files = [interactions, items_path, *([users_path] if users_path else [])]
    return assemble(pairs, items, users, files=files, items_path=items_path)


def read_items(path: Path, key: str = "item_id") -> tuple[Path, pa.Table]:
    """The items table of a folder, with its path. Raises ``UserError`` without it, or without a title column."""
    items_path = find_table(path, "items")
    if items_path is None:
        raise UserError(f"{path}: no items.csv or items.parquet found; it must give a title for every item_id")
    return items_path, read_table(items_path, [key], text=["title"])


def find_table(folder: Path, stem: str) -> Path | None:
    """The file ``stem`` with one of the known endings, or None; csv goes before parquet."""
    return next((p for p in (folder / f"{stem}{ending}" for ending in ENDINGS) if p.is_file()), None)


def read_table(
    path: Path,
    keys: Sequence[str],
    *,
    text: Sequence[str] = (),
    optional_numbers: Sequence[str] = (),
    rest: bool = True,
) -> pa.Table:
    """Read .csv[.gz] or .parquet: ``keys`` as filled strings, ``text`` must exist, ``rest``: keep the other columns."""
    if path.suffix != ".parquet":
        layout = Layout(multiline=rest)
        names = header(path, layout)
        require_columns(path, names, [*keys, *text])
        numbers = [name for name in optional_numbers if name in names]
        return read_delimited(path, layout, text=None if rest else [*keys, *text], numbers=numbers, filled=keys)
    try:
        names = pq.read_schema(path).names
        require_columns(path, names, [*keys, *text])
        numbers = [name for name in optional_numbers if name in names]
        table = pq.read_table(path, columns=names if rest else [*keys, *text, *numbers])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if table.num_rows == 0:
        raise no_rows(path)
    return _checked(path, table, keys, numbers, text)


def _checked(path: Path, table: pa.Table, keys: Sequence[str], numbers: Sequence[str], text: Sequence[str]) -> pa.Table:
    for name in numbers:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        bad = pc.fill_null(pc.invert(pc.is_finite(column)), True) if _is_numeric(column.type) else None
        if bad is None:
            raise UserError(f"{path}: column '{name}' has type {column.type}; it must hold numbers")
        if pc.any(bad).as_py():
            raise UserError(f"{path}, row {pc.index(bad, True).as_py() + 1}: {name} is not a number")
        table = table.set_column(table.column_names.index(name), name, column)
    for name in keys:
        if table[name].null_count:
            raise UserError(f"{path}, row {pc.index(pc.is_null(table[name]), True).as_py() + 1}: {name} is empty")
    for name in text:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
