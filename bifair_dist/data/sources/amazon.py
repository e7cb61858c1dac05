"""What the Amazon Reviews releases share: review files beside ``meta_*`` files, all JSON lines, gzipped or not."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes, visible
from bifair_dist.data.reading.checks import Where, cells, ids, numbers
from bifair_dist.data.reading.json_lines import read_json_lines
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.errors import UserError

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_TEXTS = pa.list_(pa.string())
_TAG = re.compile(r"""</?[A-Za-z][A-Za-z0-9]*(?:\s+[\w-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>]+))*\s*/?>""")
"""An HTML tag; words between angle brackets are no attributes, and stay."""


@dataclass(frozen=True, slots=True)
class Release:
    """Names of the fields: user, item, rating, timestamp of a review; item, categories, provider of the meta files.

    ``literals``: the lines of the meta files are Python literals.
    """

    user: str
    item: str
    rating: str
    timestamp: str
    categories: str
    provider: str
    features: str
    literals: bool = False


def read_amazon(path: Path, release: Release, notes: Notes) -> RawData:
    """Read all review and all meta files of a folder (one category or several).

    Items: title, main_category (first of the category path), categories (the others, split by ``|``), the provider
    under its own name, description and features (as text). Meta rows of items nobody reviewed are not kept.
    """
    files = [file for file in visible(path) if file.name.endswith(ENDINGS)]
    meta = [file for file in files if file.name.startswith("meta_")]
    reviews = [file for file in files if not file.name.startswith("meta_")]
    for found, what in ((reviews, "review file (NAME.json, .jsonl or .gz)"), (meta, "meta_NAME file")):
        if not found:
            raise UserError(f"{path}: no {what} found; reviews and their meta_ files belong in one folder")
    notes.say(
        f"{reviews[0].name}: rating is {release.rating}, timestamp {release.timestamp}; {meta[0].name}: title, "
        f"categories {release.categories}, provider {release.provider}"
    )
    pairs = pa.concat_tables([_reviews(file, release, notes) for file in reviews])
    items = _items(meta, release, pairs["item_id"], notes)
    return assemble(pairs, items, notes=notes, files=[*reviews, *meta], items_path=meta[0])


def _reviews(path: Path, release: Release, notes: Notes) -> pa.Table:
    keys = {release.user: "user_id", release.item: "item_id"}
    values = {release.rating: "rating", release.timestamp: "timestamp"}

    def check(block: pa.Table, where: Where) -> pa.Table:
        columns = {keys[name]: ids(path, name, block[name], where, notes) for name in keys}
        return pa.table(columns | {values[name]: numbers(path, name, block[name], where) for name in values})

    fields = {name: pa.string() for name in keys} | {name: pa.float64() for name in values}
    return read_json_lines(path, fields, check)


def _items(meta: Sequence[Path], release: Release, reviewed: pa.ChunkedArray, notes: Notes) -> pa.Table:
    known = reviewed.unify_dictionaries().chunk(0).dictionary
    fields = {release.item: pa.string(), "title": pa.string(), release.provider: pa.string()}
    fields |= {name: _TEXTS for name in (release.categories, "description", release.features)}
    tables = []
    for path in meta:

        def check(block: pa.Table, where: Where, path: Path = path) -> pa.Table:
            item = ids(path, release.item, block[release.item], where, notes)
            block = block.set_column(block.column_names.index(release.item), release.item, item.cast(pa.string()))
            return block.filter(pc.is_in(block[release.item], value_set=known))

        tables.append(read_json_lines(path, fields, check, literals=release.literals))
    table = pa.concat_tables(tables).combine_chunks()
    if table.num_rows == 0:
        raise UserError(f"{meta[0]}: none of its items has a review; reviews and meta files do not belong together")
    path = table[release.categories]
    return pa.table(
        {
            "item_id": table[release.item],
            "title": _plain_titles(cells(meta[0], "title", table["title"], notes), notes),
            "main_category": _join(pc.list_slice(path, 0, 1), "|"),
            "categories": _join(pc.list_slice(path, 1), "|"),
            release.provider: cells(meta[0], release.provider, table[release.provider], notes),
            "description": _join(table["description"], " "),
            "features": _join(table[release.features], " "),
        }
    )


def _plain_titles(column: pa.ChunkedArray, notes: Notes) -> pa.Array:
    """Titles without the HTML of the pages they were read from: entities become characters, tags go; counted."""
    assert kinds.is_string(column.type)
    marked = pc.fill_null(pc.match_substring_regex(column, r"&[#A-Za-z]|</?[A-Za-z]"), False)
    mended = [_plain(title) for title in column.filter(marked).to_pylist()]
    changed = sum(a != b for a, b in zip(mended, column.filter(marked).to_pylist(), strict=True))
    if changed:
        notes.count("titles with HTML", changed)
        notes.say(f"{changed:,} titles held HTML tags or entities, which are taken out")
    return pc.replace_with_mask(column.combine_chunks(), marked.combine_chunks(), pa.array(mended, pa.string()))


def _plain(title: str) -> str:
    text = _TAG.sub(" ", html.unescape(_TAG.sub(" ", title)))  # tags may be written as entities
    return " ".join(text.split()) if text != title else title


def _join(lists: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """One text per list, null where nothing is in it."""
    joined = pc.binary_join(lists, separator)
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)
