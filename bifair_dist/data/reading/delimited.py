"""Delimited text as Arrow columns: pyarrow where every quote is in order, else the standard library's strict reader.

pyarrow reads blocks in parallel, but takes a broken quote without a word; so the quotes are looked at first.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from bifair_dist.data.reading.checks import Where
from bifair_dist.data.reading.columns import Columns, choose, count_wanted
from bifair_dist.data.reading.files import first_line, is_gzip, no_rows, open_bytes, open_text, refuse_no_text, scan
from bifair_dist.data.reading.notes import Notes
from bifair_dist.errors import UserError

_SEPARATORS = (",", "\t", ";", "|")
_INNER_SEPARATOR = "\x1f"  # stands in for "::", because pyarrow takes a single character
_BATCH = 1 << 16
Dialect = Mapping[str, object]
_DOUBLED: Dialect = {"doublequote": True}  # "say ""hi"""
_BACKSLASH: Dialect = {"doublequote": False, "escapechar": "\\"}  # "say \"hi\""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written.

    ``delimiter`` None: comma, tab, semicolon or bar, whichever gives most of the wanted columns. ``names``: column
    names where the file has no header line. ``typed``: the header says ``name:type`` (RecBole).
    """

    delimiter: str | None = None
    quoted: bool = True
    names: Sequence[str] | None = None
    typed: bool = False


def read_delimited(
    path: Path, wanted: Columns, layout: Layout, notes: Notes, given: Sequence[str] = ()
) -> tuple[dict[str, int], pa.Table, Where]:
    """Place of every chosen column, a table of them named by their place, and how to name a row.

    ``given`` are names of columns that come from elsewhere and stand before the file's own. Numbers are float64 where
    all rows parse, else text, as all other columns; an empty cell is null. Raises ``UserError`` for a missing column,
    a row of another width and a broken quote, with its line.
    """
    delimiter, names = header(path, wanted, layout)
    chosen = choose(path, [*given, *names], wanted, notes)
    places = [place - len(given) for place in chosen.values() if place >= len(given)]
    numbers = [chosen[name] - len(given) for name in wanted.numbers if name in chosen]
    seen = scan(path, notes, delimiter)
    table = None
    dialect: Dialect | None = _DOUBLED if layout.quoted else None
    first = first_line(path)
    if seen.utf8 and (seen.regular or not layout.quoted) and first and first.count('"') % 2 == 0:  # a header of a line
        quoted = layout.quoted and seen.quotes
        table = _fast(path, delimiter, names, places, numbers, has_header=layout.names is None, quoted=quoted)
    if table is None:
        table, dialect = _slow(path, delimiter, len(names), places, layout, escaped=seen.escaped and not seen.regular)
    if layout.quoted and seen.singles:
        _refuse_single_quotes(path, table)

    def where(row: int) -> str:
        records = _records(path, delimiter, dialect)
        return f"line {next(itertools.islice(records, row + (layout.names is None), None))[0]}"

    return chosen, table.rename_columns([str(place + len(given)) for place in places]), where


def header(path: Path, wanted: Columns, layout: Layout) -> tuple[str, list[str]]:
    """Delimiter and column names. Raises ``UserError`` for an empty file, and for one that is no text."""
    refuse_no_text(path)
    with open_text(path) as stream:
        first = next((line for line in stream if line.strip()), "")
    if not first:
        raise no_rows(path)
    if layout.names is not None:
        return layout.delimiter or ",", list(layout.names)

    def names(delimiter: str) -> list[str]:
        with open_text(path) as stream:
            lines = (line for line in stream if line.strip())
            found = next(csv.reader(lines, delimiter=delimiter)) if layout.quoted else first.split(delimiter)
        return [name.partition(":")[0] for name in found] if layout.typed else found

    if layout.delimiter is not None:
        return layout.delimiter, names(layout.delimiter)
    best = max(_SEPARATORS, key=lambda delimiter: count_wanted(names(delimiter), wanted))
    return best, names(best)


def _fast(
    path: Path,
    delimiter: str,
    names: Sequence[str],
    places: list[int],
    numbers: list[int],
    *,
    has_header: bool,
    quoted: bool,
) -> pa.Table | None:
    """The columns at ``places``, named by their place; None where something does not parse."""
    as_named = is_gzip(path) == (path.suffix == ".gz")
    source: object = str(path) if as_named else open_bytes(path)
    if delimiter == "::":
        source, delimiter = pa.BufferReader(path.read_bytes().replace(b"::", _INNER_SEPARATOR.encode())), "\x1f"
    types = {str(n): pa.float64() if n in numbers else pa.string() for n in places}
    convert = pacsv.ConvertOptions(
        include_columns=[str(n) for n in places], column_types=types, null_values=[""], strings_can_be_null=True
    )
    read = pacsv.ReadOptions(
        column_names=[str(n) for n in range(len(names))], skip_rows=int(has_header), block_size=1 << 24
    )
    parse = pacsv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted)
    try:
        return pacsv.read_csv(source, read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        return None


def _slow(
    path: Path, delimiter: str, width: int, places: list[int], layout: Layout, *, escaped: bool
) -> tuple[pa.Table, Dialect | None]:
    """The same as text through the standard library, and the dialect with which every row has the right width."""
    dialects: list[Dialect | None] = [_DOUBLED, _BACKSLASH] if layout.quoted else [None]
    if escaped and layout.quoted:
        dialects.reverse()
    if layout.quoted and delimiter == "\t":
        dialects.append(None)  # a " may be a plain character where tabs separate
    failure: UserError | None = None
    for dialect in dialects:
        try:
            rows = (row for _, row in _wide(path, delimiter, width, dialect))
            if layout.names is None:
                next(rows, None)
            return _table(rows, places, refuse_quoted=dialect is None and layout.quoted), dialect
        except UserError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _refuse_single_quotes(path: Path, table: pa.Table) -> None:
    for column in table.columns:
        if pa.types.is_string(column.type):
            found = column.filter(pc.fill_null(pc.match_substring_regex(column, r"(?s)^'.*''.*'$"), False))
            if len(found):
                raise UserError(f"{path}: cells are quoted by ' ({found[0].as_py()[:40]!r}); write it with \" quotes")


def _table(rows: Iterator[list[str]], places: list[int], *, refuse_quoted: bool) -> pa.Table:
    schema = pa.schema([(str(place), pa.string()) for place in places])
    batches = []
    while batch := list(itertools.islice(rows, _BATCH)):
        columns = [[row[place] or None for row in batch] for place in places]
        if refuse_quoted and any(c and len(c) > 1 and c[0] == c[-1] == '"' for column in columns for c in column):
            raise UserError("some cells are quoted and some are not")
        batches.append(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=schema))
    return pa.Table.from_batches(batches, schema)


def _wide(path: Path, delimiter: str, width: int, dialect: Dialect | None) -> Iterator[tuple[int, list[str]]]:
    for line, row in _records(path, delimiter, dialect):
        if len(row) != width:
            raise UserError(f"{path}, line {line}: {len(row)} values where {width} columns are expected")
        yield line, row


def _records(path: Path, delimiter: str, dialect: Dialect | None) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record ends, and its cells; blank lines are left out. ``dialect`` None: no quoting."""
    with open_text(path) as text:
        if dialect is None:
            lines = ((n, line.rstrip("\r\n")) for n, line in enumerate(text, 1))
            yield from ((n, line.split(delimiter)) for n, line in lines if line)
            return
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(text, delimiter=delimiter, strict=True, **dialect)  # type: ignore[arg-type]
        line = 0
        try:
            for row in reader:
                line = reader.line_num
                if row:
                    yield line, row
        except csv.Error as error:
            raise UserError(f"{path}, line {line + 1}: a quote is out of place ({error})") from error
