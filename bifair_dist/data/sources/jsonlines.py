"""JSON lines through pyarrow, block by block, with the line number of a row that does not parse."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson

from bifair_dist.data.raw import no_rows
from bifair_dist.errors import UserError

BLOCK = 1 << 25  # bytes of text parsed at a time; bounds the memory, whatever the size of the file


def read_json_lines(
    path: Path,
    columns: Mapping[str, pa.DataType],
    filled: Sequence[str],
    keep: Callable[[pa.Table], pa.Table] = lambda table: table,
) -> pa.Table:
    """Read the fields ``columns`` of .json, .jsonl or either with .gz; other fields are skipped unread.

    Fields in ``filled`` must be there in every row. ``keep`` may drop rows of each block to save memory. A list field
    that is a bare string in some rows becomes a list of one. Raises ``UserError`` for an empty file, or a row that does
    not parse, with its line.
    """
    tables, rows, line = [], 0, 0
    try:
        for block in _blocks(path):
            table = _parse(path, block, line, columns, filled)
            rows += table.num_rows
            line += block.count(b"\n")
            tables.append(keep(table))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    if not rows:
        raise no_rows(path)
    return pa.concat_tables(tables)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about ``BLOCK`` bytes at a time."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        rest = b""
        while data := stream.read(BLOCK):
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if data[:cut].strip():
                yield data[:cut]
        if rest.strip():
            yield rest


def _parse(path: Path, block: bytes, line: int, columns: Mapping[str, pa.DataType], filled: Sequence[str]) -> pa.Table:
    try:
        table = _arrow(block, columns)
    except pa.ArrowException as error:
        lists = [name for name, kind in columns.items() if pa.types.is_list(kind)]
        try:
            table = _arrow(_strings_to_lists(block, lists), columns)
        except pa.ArrowException:
            raise _bad_row(path, block, line, columns, filled, str(error)) from error
    if any(table[name].null_count for name in filled):
        raise _bad_row(path, block, line, columns, filled, "a field is missing")
    return table


def _arrow(block: bytes, columns: Mapping[str, pa.DataType]) -> pa.Table:
    return pajson.read_json(
        io.BytesIO(block),
        read_options=pajson.ReadOptions(block_size=1 << 23),
        parse_options=pajson.ParseOptions(
            explicit_schema=pa.schema(list(columns.items())), unexpected_field_behavior="ignore"
        ),
    )


def _strings_to_lists(block: bytes, fields: Sequence[str]) -> bytes:
    """Rewrite ``"field": "text"`` as ``"field": ["text"]``; inside a string the quotes would be escaped."""
    names = "|".join(map(re.escape, fields)).encode()
    return re.sub(rb'("(?:' + names + rb')"\s*:\s*)("(?:[^"\\]|\\.)*")', rb"\1[\2]", block)


def _bad_row(
    path: Path, block: bytes, line: int, columns: Mapping[str, pa.DataType], filled: Sequence[str], reason: str
) -> UserError:
    """The first offending row of a block, found line by line; ``reason`` is the fallback."""
    for number, text in enumerate(block.splitlines(), line + 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            return UserError(f"{path}, line {number}: not valid JSON ({error})")
        if not isinstance(row, dict):
            return UserError(f"{path}, line {number}: not a JSON object")
        for name, kind in columns.items():
            value = row.get(name)
            if value is None and name in filled:
                return UserError(f"{path}, line {number}: field '{name}' is missing")
            if value is not None and not _fits(value, kind):
                return UserError(
                    f"{path}, line {number}: field '{name}' is {json.dumps(value)[:40]}, not {_called(kind)}"
                )
    last = line + block.count(b"\n")
    return UserError(f"{path}, lines {line + 1} to {last}: cannot be read ({reason.splitlines()[0]})")


def _fits(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))
    if pa.types.is_string(kind):
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _called(kind: pa.DataType) -> str:
    return "a list of texts" if pa.types.is_list(kind) else "a text" if pa.types.is_string(kind) else "a number"
