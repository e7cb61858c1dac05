"""RecBole atomic files: ``NAME.inter``, ``NAME.item``[, ``NAME.user``], tab-separated, header ``name:type``.

Types are token, token_seq, float, float_seq (RecBole 1.0, CIKM 2021). Sequences are split by spaces; those that are
categories by their name become lists split by ``|``, others (titles, descriptions) stay text.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.nearest import known
from bifair_dist.data.raw import RawData
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.delimited import Layout, header, read_delimited
from bifair_dist.errors import UserError

_TAB = Layout(delimiter="\t", quoted=False)
_CATEGORIES = ("genre", "categor", "class", "tag")


def read_recbole(path: Path) -> RawData:
    """Read a folder of RecBole atomic files; the title column ends in ``title`` or else in ``name``."""
    found = sorted(path.glob("*.inter"))
    if len(found) != 1:
        raise UserError(f"{path}: {len(found)} .inter files found; the folder must hold exactly one")
    inter, item, user = found[0], found[0].with_suffix(".item"), found[0].with_suffix(".user")
    pairs = _read(inter, ["user_id", "item_id"], ["rating", "timestamp"], rest=False)
    items = _read(item, ["item_id"], [], rest=True)
    title = next((n for end in ("title", "name") for n in items.column_names if n.endswith(end)), None)
    if title is None:
        raise UserError(f"{item}: column 'title' is missing; {known('title', items.column_names)}")
    if "title" not in items.column_names:
        items = items.rename_columns(["title" if n == title else n for n in items.column_names])
    users = _read(user, ["user_id"], [], rest=True) if user.is_file() else None
    files = [inter, item, *([user] if users is not None else [])]
    return assemble(pairs, items, users, files=files, items_path=item)


def _read(path: Path, keys: list[str], numbers: list[str], *, rest: bool) -> pa.Table:
    full = header(path, _TAB)
    kinds = dict(column.partition(":")[::2] for column in full)
    for key in keys:
        if key not in kinds:
            raise UserError(f"{path}: column '{key}' is missing; {known(key, kinds)}")
    present = [name for name in numbers if name in kinds]
    chosen = list(kinds) if rest else [*keys, *present]
    by_name = {column.partition(":")[0]: column for column in full}
    table = read_delimited(
        path,
        _TAB,
        text=[by_name[n] for n in chosen if n not in present],
        numbers=[by_name[n] for n in present],
        filled=[by_name[n] for n in keys],
    )
    table = table.rename_columns([name.partition(":")[0] for name in table.column_names])
    for name in chosen:
        if kinds[name] == "token_seq" and any(word in name.lower() for word in _CATEGORIES):
            listed = pc.replace_substring(table[name], " ", "|")
            table = table.set_column(table.column_names.index(name), name, listed)
    return table
