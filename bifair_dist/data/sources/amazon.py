"""What the Amazon Reviews releases share: review files beside ``meta_*`` files, all JSON lines, gzipped or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.raw import RawData
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.jsonlines import read_json_lines
from bifair_dist.errors import UserError

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_TEXTS = pa.list_(pa.string())
# Titles of 2018 carry the entities of the pages they were read from; "&amp;" last, or "&amp;lt;" would be undone twice.
_ENTITIES = (("&quot;", '"'), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&amp;", "&"))


@dataclass(frozen=True, slots=True)
class Release:
    """Names of the fields: user, item, rating, timestamp of a review; item, categories, provider of the meta files."""

    user: str
    item: str
    rating: str
    timestamp: str
    categories: str
    provider: str
    features: str


def read_amazon(path: Path, release: Release) -> RawData:
    """Read all review and all meta files of a folder (one category or several).

    Items: title, main_category (first of the category path), categories (the others, split by ``|``), the provider
    under its own name, description and features (as text). Meta rows of items nobody reviewed are not kept.
    """
    files = sorted(file for file in path.iterdir() if file.name.endswith(ENDINGS))
    meta = [file for file in files if file.name.startswith("meta_")]
    reviews = [file for file in files if not file.name.startswith("meta_")]
    for found, what in ((reviews, "review file (NAME.json, .jsonl or .gz)"), (meta, "meta_NAME file")):
        if not found:
            raise UserError(f"{path}: no {what} found; reviews and their meta_ files belong in one folder")
    ids = [release.user, release.item]
    fields = {name: pa.string() for name in ids} | {name: pa.float64() for name in (release.rating, release.timestamp)}
    pairs = pa.concat_tables([read_json_lines(file, fields, list(fields)) for file in reviews])
    pairs = pairs.select(list(fields)).rename_columns(["user_id", "item_id", "rating", "timestamp"])
    return assemble(pairs, _items(meta, release, pairs["item_id"]), files=[*reviews, *meta], items_path=meta[0])


def _items(meta: Sequence[Path], release: Release, reviewed: pa.ChunkedArray) -> pa.Table:
    ids = reviewed.unique()
    texts = {name: _TEXTS for name in (release.categories, "description", release.features)}
    fields = {release.item: pa.string(), "title": pa.string(), release.provider: pa.string()} | texts

    def keep(table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table[release.item], value_set=ids))

    table = pa.concat_tables([read_json_lines(file, fields, [release.item], keep) for file in meta]).combine_chunks()
    if table.num_rows == 0:
        raise UserError(f"{meta[0]}: none of its items has a review; reviews and meta files do not belong together")
    title = table["title"]
    for entity, text in _ENTITIES:
        title = pc.replace_substring(title, entity, text)
    path = table[release.categories]
    return pa.table(
        {
            "item_id": table[release.item],
            "title": title,
            "main_category": _join(pc.list_slice(path, 0, 1), "|"),
            "categories": _join(pc.list_slice(path, 1), "|"),
            release.provider: table[release.provider],
            "description": _join(table["description"], " "),
            "features": _join(table[release.features], " "),
        }
    )


def _join(lists: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """One text per list, null where nothing is in it."""
    joined = pc.binary_join(lists, separator)
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)
