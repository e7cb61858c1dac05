"""The text layout of LightGCN and AlphaRec: one line per user, ``user item item ...``, whole numbers split by spaces.

``train.txt`` is needed; ``test.txt`` and ``valid.txt`` (AlphaRec; also below ``cf_data/``) bring a split of their own
for ``--split given``. Titles are not part of the layout; they come from ``items.csv`` or ``items.parquet`` beside it,
whose ``item_id`` is that number, or whose ``org_id`` is the id that ``item_list.txt`` (``org_id remap_id``) maps to it,
or from ``titles.txt``, line n (from 0) being the title of item n.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.data.raw import RawData, no_rows
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.delimited import Layout, header, open_text, read_delimited
from bifair_dist.data.sources.generic import find_table, read_table
from bifair_dist.errors import UserError

PARTS = ("train", "valid", "test")
_LINE = Layout(delimiter="\x01", quoted=False, names=("line",))


def read_lightgcn(path: Path) -> RawData:
    """Read a LightGCN or AlphaRec folder (train.txt, optional valid.txt and test.txt, titles beside them)."""
    folder = path if (path / "train.txt").is_file() else path / "cf_data"
    found = [(part, folder / f"{name}.txt") for part, name in enumerate(PARTS) if (folder / f"{name}.txt").is_file()]
    if not found or found[0][0] != 0:
        raise UserError(f"{path}: train.txt not found; give the folder that holds it")
    pairs = pa.concat_tables([_read_part(file, part) for part, file in found])
    if found[-1][0] != 2:
        pairs = pairs.drop_columns(["part"])
    items_path, items = _items(path)
    return assemble(pairs, items, files=[*(file for _, file in found), items_path], items_path=items_path)


def _read_part(file: Path, part: int) -> pa.Table:
    lines = pc.utf8_trim_whitespace(read_delimited(file, _LINE)["line"].combine_chunks())
    numbers = pc.utf8_split_whitespace(lines)
    if not pc.all(pc.match_substring_regex(lines, r"^[0-9]+(\s+[0-9]+)*$")).as_py():
        raise _bad_line(file)
    items = pc.list_slice(numbers, 1)
    user = pc.list_element(numbers, 0).take(pc.list_parent_indices(items))
    if len(user) == 0:
        raise no_rows(file)
    parts = pa.array(np.full(len(user), part, np.int8))
    return pa.table({"user_id": user, "item_id": pc.list_flatten(items), "part": parts})


def _bad_line(file: Path) -> UserError:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            for token in line.split():
                if not (token.isascii() and token.isdigit()):
                    return UserError(f"{file}, line {number}: '{token[:40]}' is not a whole number")
    return UserError(f"{file}: not lines of 'user item item ...'")


def _items(path: Path) -> tuple[Path, pa.Table]:
    titles, table_path, listed = path / "titles.txt", find_table(path, "items"), path / "item_list.txt"
    if table_path is None:
        if not titles.is_file():
            raise UserError(f"{path}: no titles found; add items.csv (item_id,title) or titles.txt (line n: item n)")
        title = read_delimited(titles, Layout(delimiter="\x01", quoted=False, names=("title",)))["title"]
        return titles, pa.table({"item_id": pa.array(np.arange(len(title))).cast(pa.string()), "title": title})
    names = pq.read_schema(table_path).names if table_path.suffix == ".parquet" else header(table_path, Layout())
    if "item_id" in names or not listed.is_file():
        return table_path, read_table(table_path, ["item_id"], text=["title"])
    items = read_table(table_path, ["org_id"], text=["title"])
    mapping = read_delimited(listed, Layout(delimiter=" ", quoted=False), text=["org_id", "remap_id"])
    row = pc.index_in(items["org_id"].cast(pa.string()), value_set=mapping["org_id"].combine_chunks())
    items = items.append_column("item_id", mapping["remap_id"].combine_chunks().take(row.combine_chunks()))
    return table_path, items.filter(pc.is_valid(items["item_id"]))
