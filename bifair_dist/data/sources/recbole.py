"""RecBole atomic files: ``NAME.inter``, ``NAME.item``[, ``NAME.user``], tab-separated, header ``name:type``.

Types are token, token_seq, float, float_seq (RecBole 1.0, CIKM 2021). Sequences are split by spaces; those that are
categories by their name become lists split by ``|``, others (titles, descriptions) stay text. A benchmark has its own
split: ``NAME.train.inter``, ``NAME.valid.inter``, ``NAME.test.inter``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Columns, Layout, Notes, first_line, read_table, visible
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.registry import source
from bifair_dist.errors import UserError, known_names

_TAB = Layout("\t", typed=True)
_PAIRS = Columns(keys=("user_id", "item_id"), numbers=("rating", "timestamp"))
_CATEGORIES = ("genre", "categor", "class", "tag")
_PARTS = ("train", "valid", "test")
_NO_TITLE = ("sub", "alt", "brand", "author", "artist", "user", "store", "publisher", "director", "city", "categor")
_LISTED = r"""^[\[{'"]|,|\|"""  # a sequence that a program wrote as a list, not as words split by spaces


@source("recbole", ("*.inter",))
def read_recbole(path: Path, notes: Notes) -> RawData:
    """RecBole atomic files (.inter, .item, optionally .user); the title column is title, name, or ends so."""
    found = [file for file in visible(path) if file.suffix == ".inter"]
    given = [file for file in found if file.suffixes[-2:-1] and file.suffixes[-2][1:] in _PARTS]
    whole = [file for file in found if file not in given]
    stems = {file.name.split(".inter")[0].rsplit(".", 1)[0] for file in given} if given else {f.stem for f in whole}
    if len(stems) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(f"{path}: .inter files of exactly one data set are needed; found: {names}")
    (stem,) = stems
    if given:
        pairs = pa.concat_tables([_part(file, notes) for file in given])
        if whole:
            notes.say(f"{whole[0].name} is not read: {', '.join(file.name for file in given)} have its pairs, split")
    else:
        given = whole
        pairs = read_table(whole[0], _PAIRS, notes, _TAB)
    item, user = path / f"{stem}.item", path / f"{stem}.user"
    items = _titled(item, _read(item, "item_id", notes), notes)
    users = _read(user, "user_id", notes) if user.is_file() else None
    files = [*given, item, *([user] if users is not None else [])]
    return assemble(pairs, items, users, notes=notes, files=files, items_path=item)


def _part(file: Path, notes: Notes) -> pa.Table:
    table = read_table(file, _PAIRS, notes, _TAB)
    part = _PARTS.index(file.suffixes[-2][1:])
    return table.append_column("part", pa.array(np.full(table.num_rows, part, np.int8)))


def _read(path: Path, key: str, notes: Notes) -> pa.Table:
    table = read_table(path, Columns(keys=[key], rest=True), notes, _TAB)
    kinds = dict(column.strip().partition(":")[::2] for column in first_line(path).split("\t"))
    for place, name in enumerate(table.column_names):
        if kinds.get(name) == "token_seq" and any(word in name.lower() for word in _CATEGORIES):
            cells = table[name]
            listed = pc.match_substring_regex(cells, _LISTED)
            spaced = pc.replace_substring(cells, " ", "|")
            table = table.set_column(place, name, pc.if_else(pc.fill_null(listed, False), cells, spaced))
    return table


def _titled(path: Path, items: pa.Table, notes: Notes) -> pa.Table:
    """The items with their title column named so: ``title``, ``name``, or else one that ends so and is the item's."""
    names = items.column_names
    likely = [n for n in names if n.endswith(("title", "name")) and not n.lower().startswith(_NO_TITLE)]
    likely.sort(key=lambda n: (n not in ("title", "name"), not n.endswith("title"), names.index(n)))
    if not likely:
        raise UserError(f"{path}: column 'title' is missing; {known_names('title', names)}")
    others = [n for n in names if n != likely[0] and n.endswith(("title", "name"))]
    notes.say(f"title: column '{likely[0]}'" + (f"; not {', '.join(others)}" if others else ""))
    return items.rename_columns(["title" if n == likely[0] else n for n in names])
