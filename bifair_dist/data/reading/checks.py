"""Columns as every source hands them over: ids in every row, numbers that are finite, empty cells that are null."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from bifair_dist.data.reading.arrow_types import as_text
from bifair_dist.data.reading.notes import Notes
from bifair_dist.errors import UserError

Where = Callable[[int], str]
"""Names a row (from 0) of a table as a person finds it in the file: ``line 7``."""

MISSING = pa.array(["", "nan", "none", "null", "<na>", "nat"])
"""Words, in lower case, that programs write where there is no value."""
_NO_ID = pa.array([*MISSING.to_pylist(), "na", "n/a", "undefined"])
FLOAT_ID = r"^(0|-?[1-9][0-9]*)\.0+$"


def ids(path: Path, name: str, column: pa.ChunkedArray, where: Where, notes: Notes) -> pa.ChunkedArray:
    """Ids as ``dictionary<int32, string>``, blanks around them taken off, whole numbers written as floats mended.

    Raises ``UserError`` naming the first row whose id is missing, a word for a missing value, or a list.
    """
    if not (kinds.is_string(column.type) or kinds.is_integer(column.type)):
        column = _decoded(path, name, column)
    if kinds.is_list(column.type):
        raise UserError(f"{path}: column '{name}' holds lists; one row must hold one pair")
    coded = column.dictionary_encode().unify_dictionaries()
    if coded.num_chunks == 0:
        return pa.chunked_array([], pa.dictionary(pa.int32(), pa.string()))
    given = coded.chunk(0).dictionary.cast(pa.string())
    clean = pc.utf8_trim_whitespace(given)
    _refuse(path, name, coded, pc.is_in(pc.utf8_lower(clean), _NO_ID), given, where, "is no id; every row needs one")
    listed = pc.match_substring_regex(clean, r"^\[.*\]$")
    _refuse(path, name, coded, listed, given, where, "is a list; one row must hold one pair")
    trimmed = pc.sum(pc.not_equal(clean, given)).as_py()
    if trimmed:
        if len(pc.unique(clean)) < len(clean):
            raise UserError(f"{path}: two ids in '{name}' differ only in blanks around them; make them differ or equal")
        notes.say(f"{path.name}: blanks around {trimmed:,} values of {name} are taken off")
    rounded = pc.match_substring_regex(clean, r"^[0-9](\.[0-9]+)?[eE]\+[0-9]+$")
    if pc.any(rounded).as_py():
        example = clean.filter(rounded)[0]
        notes.warn(f"{path.name}: {name} '{example}' is a number that a program shortened: others may be the same now")
    if len(clean) and pc.all(pc.match_substring_regex(clean, FLOAT_ID)).as_py():
        whole = pc.replace_substring_regex(clean, FLOAT_ID, r"\1")
        if len(pc.unique(whole)) == len(whole):
            notes.say(f"{path.name}: {name} is written as floats ({clean[0]}) and read as whole numbers ({whole[0]})")
            clean = whole
    return pa.chunked_array([pa.DictionaryArray.from_arrays(chunk.indices, clean) for chunk in coded.chunks])


def numbers(path: Path, name: str, column: pa.ChunkedArray, where: Where) -> pa.ChunkedArray:
    """Numbers as float64; dates as seconds since 1970, or microseconds where one has a fraction of a second.

    Raises ``UserError`` naming the first row that is empty or no finite number.
    """
    if kinds.is_temporal(column.type) and not (kinds.is_duration(column.type) or kinds.is_time(column.type)):
        column = _since_1970(column)
    elif not (kinds.is_integer(column.type) or kinds.is_floating(column.type)):
        column = _from_text(path, name, as_text(column), where)
    column = column.cast(pa.float64())
    bad = pc.fill_null(pc.invert(pc.is_finite(column)), True)
    if pc.any(bad).as_py():
        row = pc.index(bad, True).as_py()
        value = column[row].as_py()
        what = "is empty" if value is None else f"'{value}' is not a number"
        raise UserError(f"{path}, {where(row)}: {name} {what}")
    return column


def cells(path: Path, name: str, column: pa.ChunkedArray, notes: Notes) -> pa.ChunkedArray:
    """Text or lists of text; null where a cell is blank or a word for a missing value, which is reported."""
    column = _decoded(path, name, column)
    if kinds.is_list(column.type):
        return column
    text = pc.utf8_trim_whitespace(column)
    word = pc.or_(pc.is_in(pc.utf8_lower(text), MISSING), pc.equal(text, "NA"))
    words = pc.sum(pc.and_(word, pc.not_equal(text, ""))).as_py()
    if words:
        example = text.filter(pc.and_(word, pc.not_equal(text, "")))[0]
        notes.say(f"{path.name}: {words:,} cells of {name} say '{example}' or the like and are taken as empty")
    return pc.if_else(pc.fill_null(word, False), pa.scalar(None, pa.string()), column)


def _decoded(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return as_text(column)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: column '{name}' of type {column.type} is not text ({reason})") from error


def _refuse(
    path: Path, name: str, coded: pa.ChunkedArray, wrong: pa.Array, given: pa.Array, where: Where, what: str
) -> None:
    """Raise for the first row without a value, or whose value is among the wrong ones."""
    if not coded.null_count and not pc.any(wrong).as_py():
        return
    row = 0
    for chunk in coded.chunks:
        bad = pc.fill_null(wrong.take(chunk.indices), True)
        if pc.any(bad).as_py():
            at = pc.index(bad, True).as_py()
            code = chunk.indices[at].as_py()
            value = "" if code is None else given[code].as_py().strip()
            raise UserError(f"{path}, {where(row + at)}: {name} {f'{value[:60]!r} {what}' if value else 'is empty'}")
        row += len(chunk)


def _from_text(path: Path, name: str, column: pa.ChunkedArray, where: Where) -> pa.ChunkedArray:
    if not kinds.is_string(column.type):
        raise UserError(f"{path}: column '{name}' has type {column.type}; it must hold numbers")
    text = pc.utf8_trim_whitespace(column)
    for kind in (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ns")):
        try:
            parsed = text.cast(kind)
        except pa.ArrowInvalid:
            continue
        return parsed if kind == pa.float64() else _since_1970(parsed)
    date = text.cast(pa.string())
    for row, value in enumerate(date.to_pylist()):
        if value is None or not _is_number(value):
            what = "is empty" if not value else f"'{value[:60]}' is not a number"
            raise UserError(f"{path}, {where(row)}: {name} {what}")
    raise UserError(f"{path}: column '{name}' does not hold numbers")


def _since_1970(column: pa.ChunkedArray) -> pa.ChunkedArray:
    microseconds = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    seconds = pc.divide(microseconds, 1_000_000)
    whole = pc.all(pc.equal(pc.multiply(seconds, 1_000_000), microseconds)).as_py()
    return seconds if whole else microseconds


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
