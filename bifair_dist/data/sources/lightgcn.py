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

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Columns, Layout, Notes, column_names, find_table, read_lines, read_table
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.generic import read_items
from bifair_dist.data.sources.registry import source
from bifair_dist.errors import UserError

PARTS = ("train", "valid", "test")


@source("lightgcn", ("train.txt",), ("cf_data",))
def read_lightgcn(path: Path, notes: Notes) -> RawData:
    """A LightGCN or AlphaRec folder (train.txt, optional valid.txt and test.txt, titles beside them)."""
    folder = path if (path / "train.txt").is_file() else path / "cf_data"
    found = [(part, folder / f"{name}.txt") for part, name in enumerate(PARTS) if (folder / f"{name}.txt").is_file()]
    if not found or found[0][0] != 0:
        raise UserError(f"{path}: train.txt not found; give the folder that holds it")
    pairs = pa.concat_tables([_read_part(file, part, notes) for part, file in found])
    if found[-1][0] != 2:
        pairs = pairs.drop_columns(["part"])
    items_path, items = _items(path, notes)
    files = [*(file for _, file in found), items_path]
    return assemble(pairs, items, notes=notes, files=files, items_path=items_path)


def _read_part(file: Path, part: int, notes: Notes) -> pa.Table:
    lines = pc.utf8_trim_whitespace(pa.array(read_lines(file, notes), pa.string()))
    wrong = pc.invert(pc.match_substring_regex(lines, r"^([0-9]+(\s+[0-9]+)*)?$"))
    if pc.any(wrong).as_py():
        row = pc.index(wrong, True).as_py()
        token = next(word for word in lines[row].as_py().split() if not (word.isascii() and word.isdigit()))
        raise UserError(f"{file}, line {row + 1}: '{token[:40]}' is not a whole number")
    numbers = pc.utf8_split_whitespace(lines.filter(pc.not_equal(lines, "")))
    heads, items = pc.list_element(numbers, 0), pc.list_slice(numbers, 1)
    _refuse_rows_of_values(file, heads, numbers)
    user = heads.take(pc.list_parent_indices(items))
    if len(user) == 0:
        raise UserError(f"{file}: no line holds a user and an item")
    parts = pa.array(np.full(len(user), part, np.int8))
    return pa.table({"user_id": user, "item_id": pc.list_flatten(items), "part": parts})


def _refuse_rows_of_values(file: Path, heads: pa.Array, numbers: pa.Array) -> None:
    """``user item rating [timestamp]`` has three or four values in every line and lines that share their user."""
    widths = pc.list_value_length(numbers)
    width = widths[0].as_py() if len(widths) else 0
    if width in (3, 4) and pc.all(pc.equal(widths, width)).as_py() and len(pc.unique(heads)) < len(heads):
        columns = ("user_id", "item_id", "rating", "timestamp")[:width]
        raise UserError(
            f"{file}: looks like pairs ({' '.join(columns)} in each line), not lists of items; as interactions.csv, "
            f"with commas and {','.join(columns)} as its first line, it is read by --source generic"
        )


def _items(path: Path, notes: Notes) -> tuple[Path, pa.Table]:
    titles, table_path, listed = path / "titles.txt", find_table(path, "items"), path / "item_list.txt"
    if table_path is None:
        if not titles.is_file():
            raise UserError(f"{path}: no titles found; add items.csv (item_id,title) or titles.txt (line n: item n)")
        title = read_lines(titles, notes)  # blank ones too: the number of a line is the item's
        return titles, pa.table({"item_id": [str(n) for n in range(len(title))], "title": title})
    wanted = Columns(keys=["org_id"], text=["title"], rest=True)
    if "item_id" in column_names(table_path, wanted) or not listed.is_file():
        return read_items(path, notes)
    items = read_table(table_path, wanted, notes)
    mapping = read_table(listed, Columns(keys=["org_id", "remap_id"]), notes, Layout(" ", quoted=False))
    row = pc.index_in(items["org_id"].cast(pa.string()), value_set=mapping["org_id"].cast(pa.string()).combine_chunks())
    items = items.append_column("item_id", mapping["remap_id"].cast(pa.string()).take(row.combine_chunks()))
    return table_path, items.filter(pc.is_valid(items["item_id"]))
