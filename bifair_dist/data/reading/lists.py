"""Cells that hold several values: Arrow lists, ``a|b``, ``a, b``, ``a; b``, ``a / b`` and ``['a', 'b']``."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from bifair_dist.data.reading.arrow_types import LIST, as_text, label_field
from bifair_dist.data.reading.checks import MISSING
from bifair_dist.data.reading.notes import Notes

BAR = "|"
_WEAK = (";", ",", "/")  # also in names ("Simon & Schuster, Inc."): only where their parts occur elsewhere too


def split_values(column: pa.ChunkedArray | pa.Array, name: str, notes: Notes) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Distinct (row, value) pairs of the column ``name``, in order of rows; blanks and missing values left out.

    Every cell of text is a list if it is written as one (``['a', 'b']``), is split by ``|`` if any cell of the column
    has one, else by ``;``, ``,`` or ``/`` if the parts are values of their own (``recurring``). It is reported.
    """
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    text = as_text(column)
    if not kinds.is_list(text.type):
        coded = text.dictionary_encode().unify_dictionaries()
        distinct = coded.chunk(0).dictionary.to_pylist() if coded.num_chunks else []
        lists = pa.array(_split(distinct, name, notes), LIST)
        text = pa.chunked_array([lists.take(chunk.indices) for chunk in coded.chunks], LIST)
    array = text.combine_chunks()
    rows = pc.list_parent_indices(array)
    values = pc.utf8_trim_whitespace(pc.list_flatten(array))
    keep = pc.fill_null(pc.invert(pc.is_in(pc.utf8_lower(values), MISSING)), False)
    keep = pc.and_(keep, pc.is_valid(values))
    unique = pa.table({"row": rows.filter(keep), "value": values.filter(keep)})
    unique = unique.group_by(["row", "value"], use_threads=False).aggregate([])
    return unique["row"].to_numpy().astype(np.int64), unique["value"].combine_chunks()


def recurring(cells: Sequence[str], separator: str) -> bool:
    """Whether a separator stands between values: its parts mostly occur in other cells as well, some of them alone."""
    parts = {cell: {part.strip() for part in cell.split(separator)} - {""} for cell in cells}
    several = [found for found in parts.values() if len(found) > 1]
    if not several:
        return False
    count = Counter(part for found in parts.values() for part in found)
    mine = set().union(*several)
    share = sum(count[part] > 1 for part in mine) / len(mine)
    alone = any(cell.strip() in mine for cell in cells)
    return (share >= 0.5 and alone) or (share >= 0.8 and len(several) >= 3)


def _split(cells: Sequence[str], name: str, notes: Notes) -> list[list[str]]:
    """The values of every distinct cell."""
    written = {cell: found for cell in cells if (found := _written_list(cell)) is not None}
    if written:
        notes.say(f"{name}: cells such as {next(iter(written))[:60]} are read as lists")
    plain = [cell for cell in cells if cell not in written]
    if any(BAR in cell for cell in plain):
        separator = BAR
    else:
        separator = next((mark for mark in _WEAK if recurring(plain, mark)), "")
        holding = [cell for cell in plain if any(mark in cell for mark in ";,")]
        if separator:
            example = next(cell for cell in plain if separator in cell)
            notes.say(f"{name}: cells such as '{example[:60]}' are read as lists, split by '{separator}'")
        elif len(holding) > 0.2 * len(plain):
            notes.warn(f"{name}: cells such as '{holding[0][:60]}' are each one value; if they are lists, write a|b")
    return [written[c] if c in written else c.split(separator) if separator else [c] for c in cells]


def _written_list(cell: str) -> list[str] | None:
    """The values of a cell written as a list, else None: ``str`` of Python or numpy, JSON, quoted words."""
    text = cell.strip()
    if not re.fullmatch(r"\[.*\]|\{.*\}|\(['\"].*\)|'.*'|\".*\"", text, re.DOTALL):
        return None
    if text[0] in "'\"":
        text = f"[{text}]"
    for read in (json.loads, lambda t: ast.literal_eval(re.sub(r"(?<=['\"])\s+(?=['\"])", ", ", t))):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            found = [found]
        if isinstance(found, set):
            found = sorted(found, key=str)
        return [value for entry in found if (value := _label(entry)) is not None]
    if text[0] != "[":
        return None
    return [value.strip().strip("'\"") for value in text[1:-1].split(",")]  # [a, b], or 'a', 'b's c'


def _label(entry: Any) -> str | None:
    """The name of a value in a list: of a mapping, the field that names it."""
    if isinstance(entry, dict):
        name = label_field(list(entry))
        entry = entry.get(name) if name else json.dumps(entry, ensure_ascii=False, default=str)
    return None if entry is None else str(entry)
