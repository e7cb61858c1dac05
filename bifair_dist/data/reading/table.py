"""One table from a file, or a folder of parts, of any format: from bytes to the columns that every source takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.json as pajson
import pyarrow.parquet as pq

from bifair_dist.data.reading.agreement import refuse_two_readings
from bifair_dist.data.reading.checks import Where, cells, ids, numbers
from bifair_dist.data.reading.columns import Columns, choose
from bifair_dist.data.reading.delimited import Layout, header, read_delimited
from bifair_dist.data.reading.files import no_rows, parts_of, reading, visible
from bifair_dist.data.reading.notes import Notes
from bifair_dist.errors import UserError

_HEADER = Layout()  # with a header line, and the delimiter that it shows
ARROW = (".parquet", ".jsonl", ".jsonl.gz", ".arrow", ".feather")
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", *ARROW)


def find_table(folder: Path, stem: str) -> Path | None:
    """The file, or folder of parts, ``stem`` with one of the known endings, or a folder ``stem``; else None.

    Raises ``UserError`` where there are two: which of them is meant, or newer, cannot be known.
    """
    places = [folder / f"{stem}{ending}" for ending in (*ENDINGS, "")]
    found = [path for path in places if path.is_file() or (path.is_dir() and parts_of(path))]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"{folder}: {names} are both there and each is the table '{stem}'; move all but one away")
    return found[0] if found else None


def beside(folder: Path, stem: str) -> str:
    """For the error that there is no such table: files of this name that are not read, as ``; items.json is ...``."""
    others = [path.name for path in visible(folder) if path.name.startswith(f"{stem}.")]
    return f"; {others[0]} is there, which cannot be read: write it as .csv, .parquet or .jsonl" if others else ""


def column_names(path: Path, wanted: Columns) -> list[str]:
    """The names of the columns of a table. Raises ``UserError`` where it cannot be read."""
    part = next((part for part, _ in parts_of(path)), path)
    with reading(part):
        if _is_arrow(part):
            return _arrow(part, None).column_names
        return [name.strip() for name in header(part, wanted, _HEADER)[1]]


def read_table(path: Path, wanted: Columns, notes: Notes, layout: Layout = _HEADER) -> pa.Table:
    """The wanted columns of a table, checked: see ``checks`` for what ids, numbers and other cells become.

    Raises ``UserError`` with one line that names the file and, where there is one, the row.
    """
    parts = parts_of(path) if path.exists() else [(path, {})]
    if not parts:
        raise no_rows(path)
    tables = []
    for part, given in parts:
        with reading(part):
            tables.append(_read_part(part, given, wanted, layout, notes))
    notes.say(f"{path.name}: columns {', '.join(tables[0].column_names)}")
    if len(tables) == 1:
        return tables[0]
    refuse_two_readings(path, tables, wanted)
    return pa.concat_tables(tables, promote_options="default")


def _read_part(path: Path, given: dict[str, str], wanted: Columns, layout: Layout, notes: Notes) -> pa.Table:
    """One file; ``given``: columns that the path has, with their one value."""
    read = _read_arrow if _is_arrow(path) else read_delimited
    chosen, table, where = read(path, wanted, layout, notes, list(given))
    if table.num_rows == 0:
        raise no_rows(path)
    constants = list(given.values())
    columns = {
        name: _repeated(constants[place], table.num_rows) if place < len(given) else table[str(place)]
        for name, place in chosen.items()
    }
    del table
    return _checked(path, columns, wanted, where, notes)


def _repeated(value: str, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [value])])


def _is_arrow(path: Path) -> bool:
    return path.name.endswith(ARROW)


def _checked(path: Path, columns: dict[str, pa.ChunkedArray], wanted: Columns, where: Where, notes: Notes) -> pa.Table:
    """Every column in its final type; one that nobody asked for and that is not text is left out, and reported."""
    done: dict[str, pa.ChunkedArray] = {}
    for name in list(columns):
        column = columns.pop(name)  # released one by one, which keeps the peak memory of large inputs down
        if name in wanted.keys:
            done[name] = ids(path, name, column, where, notes)
        elif name in wanted.numbers:
            done[name] = numbers(path, name, column, where)
        else:
            try:
                done[name] = cells(path, name, column, notes)
            except UserError:
                if name in wanted.text:
                    raise
                notes.say(f"{path.name}: column '{name}' is not text and is left out")
    return pa.table(done)


def _read_arrow(
    path: Path, wanted: Columns, layout: Layout, notes: Notes, given: Sequence[str]
) -> tuple[dict[str, int], pa.Table, Where]:
    del layout  # a Parquet or JSON file says itself how it is written
    names = _arrow(path, None).column_names
    chosen = choose(path, [*given, *names], wanted, notes)
    own = [place for place in chosen.values() if place >= len(given)]
    table = _arrow(path, [names[place - len(given)] for place in own])
    row = "line" if ".jsonl" in path.name else "row"
    return chosen, table.rename_columns([str(place) for place in own]), lambda n: f"{row} {n + 1}"


def _arrow(path: Path, columns: list[str] | None) -> pa.Table:
    """The columns of a Parquet, Arrow IPC or JSON lines file; None: an empty table with all its columns."""
    try:
        if path.name.endswith((".arrow", ".feather")):
            return feather.read_table(path, columns=columns)
        if ".jsonl" in path.name:
            table = pajson.read_json(str(path), read_options=pajson.ReadOptions(block_size=1 << 26))
            return table if columns is None else table.select(columns)
        with pq.ParquetFile(path) as file:
            return file.schema_arrow.empty_table() if columns is None else file.read(columns=columns)
    except pa.ArrowException as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
