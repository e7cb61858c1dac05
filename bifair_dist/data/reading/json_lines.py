"""JSON lines of known fields, block by block: pyarrow where it can, else the standard library, line by line.

Line by line go the blocks that pyarrow refuses: half a character (a lone surrogate) in a field that nobody reads, a
list that is a bare text in some rows, a number that is a text, and the Python literals of Amazon's metadata of 2014.
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pajson
import pyarrow.types as kinds

from bifair_dist.data.reading.checks import Where
from bifair_dist.data.reading.files import no_rows, open_bytes, reading
from bifair_dist.errors import UserError

BLOCK = 1 << 25  # bytes of text parsed at a time; bounds the memory, whatever the size of the file
Block = tuple[pa.Table, Where]


def read_json_lines(
    path: Path,
    fields: Mapping[str, pa.DataType],
    check: Callable[[pa.Table, Where], pa.Table],
    *,
    literals: bool = False,
) -> pa.Table:
    """``check`` of every block of .json, .jsonl or either with .gz, joined; fields that are not named are skipped.

    A block has every field of ``fields``: of its type, or as text (lists of text) where pyarrow could not read it.
    ``literals``: lines may be Python literals. Raises ``UserError`` for an empty file and a line that is no object.
    """
    tables = []
    with reading(path):
        line = 0
        for block in _blocks(path):
            tables.append(check(_parse(path, block, line, fields, literals), partial(_where, block, line)))
            line += block.count(b"\n")
    if not tables:
        raise no_rows(path)
    return pa.concat_tables(tables)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about ``BLOCK`` bytes at a time."""
    with open_bytes(path) as stream:
        rest = b""
        while data := stream.read(BLOCK):
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if data[:cut].strip():
                yield data[:cut]
        if rest.strip():
            yield rest


def _where(block: bytes, before: int, row: int) -> str:
    """The line of a row of the block; blank lines are no rows."""
    filled = (n for n, text in enumerate(block.split(b"\n"), before + 1) if text.strip())
    return f"line {next(islice(filled, row, None))}"


def _parse(path: Path, block: bytes, before: int, fields: Mapping[str, pa.DataType], literals: bool) -> pa.Table:
    """The table of a block that follows ``before`` lines."""
    try:
        options = pajson.ParseOptions(
            explicit_schema=pa.schema(list(fields.items())), unexpected_field_behavior="ignore"
        )
        read = pajson.ReadOptions(block_size=1 << 23)
        return pajson.read_json(io.BytesIO(block), read_options=read, parse_options=options)
    except pa.ArrowException:
        pass
    columns: dict[str, list[Any]] = {name: [] for name in fields}
    for number, text in enumerate(block.split(b"\n"), before + 1):
        if text.strip():
            row = _row(path, number, text, literals)
            for name, kind in fields.items():
                columns[name].append(_value(path, number, name, row.get(name), kind))
    types = {name: kind if kinds.is_list(kind) else pa.string() for name, kind in fields.items()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def _row(path: Path, number: int, text: bytes, literals: bool) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        if not text.lstrip().startswith((b"{'", b"{u'")):
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from error
        if not literals:
            raise UserError(
                f"{path}, line {number}: a Python literal, not JSON, as in the Amazon metadata of 2014; "
                "use --source amazon2014"
            ) from error
        row = _literal(path, number, text)
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: not a JSON object")
    return row


def _literal(path: Path, number: int, text: bytes) -> Any:
    try:
        return ast.literal_eval(text.decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: neither JSON nor a Python literal") from error


def _value(path: Path, number: int, name: str, value: Any, kind: pa.DataType) -> Any:
    """The value as text, or as a list of texts; nested lists become one."""
    if kinds.is_list(kind):
        flat = list(_flat(value)) if value is not None else None
        return flat and [_value(path, number, name, v, pa.string()) for v in flat]
    if value is None or value == "":
        return None
    if isinstance(value, list | dict):
        raise UserError(f"{path}, line {number}: field '{name}' is {json.dumps(value)[:40]}, not one value")
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}, line {number}: field '{name}' holds half a character (a lone surrogate)") from error
    return text


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value
