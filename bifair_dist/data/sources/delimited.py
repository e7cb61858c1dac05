"""Delimited text through pyarrow, with the line number of a row that does not parse.

pyarrow reads many blocks at once and so cannot say on which line it stopped; only after it failed the file is read
once more, slowly, to name the line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from bifair_dist.data.nearest import known
from bifair_dist.data.raw import no_rows
from bifair_dist.errors import UserError

INNER_SEPARATOR = "\x1f"  # stands in for "::", because pyarrow takes a single character


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written. ``names``: column names where the file has no header line."""

    delimiter: str = ","
    quoted: bool = True
    names: Sequence[str] | None = None
    multiline: bool = False


def open_text(path: Path) -> IO[str]:
    """Text of a file, .gz unpacked; bytes that are not UTF-8 are replaced."""
    raw = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - closed with the wrapper
    return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="")


def header(path: Path, layout: Layout) -> list[str]:
    """Column names from the first line. Raises ``UserError`` if the file is missing or empty."""
    if not path.is_file():
        raise UserError(f"{path}: file not found")
    if layout.names is not None:
        return list(layout.names)
    try:
        with open_text(path) as stream:
            line = stream.readline().lstrip("\ufeff")
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not line.strip():
        raise no_rows(path)
    bare = line.rstrip("\r\n")
    return next(csv.reader([bare], delimiter=layout.delimiter)) if layout.quoted else bare.split(layout.delimiter)


def require_columns(path: Path, have: Sequence[str], need: Sequence[str]) -> None:
    """Raise ``UserError`` naming the first needed column that is not there."""
    for name in need:
        if name not in have:
            raise UserError(f"{path}: column '{name}' is missing; {known(name, have)}")


def read_delimited(
    path: Path,
    layout: Layout = Layout(),
    *,
    text: Sequence[str] | None = None,
    numbers: Sequence[str] = (),
    filled: Sequence[str] = (),
) -> pa.Table:
    """Read chosen columns: ``text`` as strings (None: every column), ``numbers`` as float64, all of them present.

    Columns in ``filled`` and in ``numbers`` may not be empty in any row; elsewhere an empty cell becomes null.
    Raises ``UserError`` for a missing file or column, an empty file, or a row that does not parse (with its line).
    """
    names = header(path, layout)
    wanted = [*(names if text is None else text), *numbers]
    require_columns(path, names, wanted)
    convert = pacsv.ConvertOptions(
        include_columns=wanted,
        column_types={name: pa.float64() if name in numbers else pa.string() for name in names},
        null_values=[""],
        strings_can_be_null=True,
    )
    parse = pacsv.ParseOptions(
        delimiter=INNER_SEPARATOR if layout.delimiter == "::" else layout.delimiter,
        quote_char='"' if layout.quoted else False,
        newlines_in_values=layout.multiline,
    )
    read = pacsv.ReadOptions(column_names=layout.names, encoding=_encoding(path), block_size=1 << 24)
    try:
        table = pacsv.read_csv(_input(path, layout), read_options=read, parse_options=parse, convert_options=convert)
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        if layout.names is not None and "Empty CSV" in str(error):
            raise no_rows(path) from error
        raise _bad_row(path, layout, names, numbers, filled, str(error)) from error
    if table.num_rows == 0:
        raise no_rows(path)
    bad = any(table[name].null_count for name in (*numbers, *filled))
    if bad or any(not pc.all(pc.is_finite(table[name])).as_py() for name in numbers):
        raise _bad_row(path, layout, names, numbers, filled, "an empty or non-finite value")
    return table


def _encoding(path: Path) -> str:
    """UTF-8, or Latin-1 where any bytes are not UTF-8 (older GroupLens releases); decided on the whole file."""
    opener = gzip.open if path.suffix == ".gz" else open
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with opener(path, "rb") as stream:
            while block := stream.read(1 << 24):
                decoder.decode(block)
    except UnicodeDecodeError:
        return "latin-1"
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    return "utf-8"


def _input(path: Path, layout: Layout) -> pa.NativeFile | str:
    if layout.delimiter != "::":
        return str(path)
    return pa.BufferReader(path.read_bytes().replace(b"::", INNER_SEPARATOR.encode()))


def _rows(stream: IO[str], layout: Layout) -> Iterator[tuple[int, list[str]]]:
    if layout.quoted:
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(stream, delimiter=layout.delimiter)
        yield from ((reader.line_num, row) for row in reader if row)
    else:
        split = ((n, line.rstrip("\r\n")) for n, line in enumerate(stream, 1))
        yield from ((n, line.split(layout.delimiter)) for n, line in split if line)


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _bad_row(
    path: Path, layout: Layout, names: list[str], numbers: Sequence[str], filled: Sequence[str], reason: str
) -> UserError:
    """The first offending row, found by a slow second reading; ``reason`` is the fallback."""
    numeric = [(names.index(name), name) for name in numbers]
    needed = [(names.index(name), name) for name in filled]
    with open_text(path) as stream:
        rows = _rows(stream, layout)
        if layout.names is None:
            next(rows)
        for line, row in rows:
            if len(row) != len(names):
                return UserError(f"{path}, line {line}: {len(row)} values where {len(names)} columns are expected")
            for column, name in numeric:
                if not _is_number(row[column]):
                    return UserError(f"{path}, line {line}: {name} '{row[column]}' is not a number")
            for column, name in needed:
                if not row[column]:
                    return UserError(f"{path}, line {line}: {name} is empty")
    return UserError(f"{path}: cannot be read ({reason.splitlines()[0]})")
