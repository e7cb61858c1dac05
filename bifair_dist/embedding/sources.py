"""Vectors made elsewhere, opened so that any rows of them can be read without reading all: .npy, safetensors, Parquet.

    .npy           2-D array of floats; ids from a file of their own. Nothing that needs unpickling is ever read.
    .safetensors   the 2-D tensor `vectors`, or the only 2-D one; ids from a file of their own
    .parquet       or a folder of them, by name: ids in `item_id` or `id`, lists of floats in `vector` or `embedding`

Floats are float16, float32 or float64, in safetensors also bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bifair_dist.data.representations.number_format import STORED
from bifair_dist.data.representations.reading import as_arrow
from bifair_dist.errors import UserError

BATCH = 2048  # rows of Parquet held at once
ID_COLUMNS = ("item_id", "id")
VECTOR_COLUMNS = ("vector", "embedding")
_TENSORS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_ELEMENTS = {pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64"}


@dataclass(frozen=True, slots=True)
class Source:
    """`stored` [R, d], on disk, as `number_format` stores `dtype`; row i is of `ids[i]`. `files` is what was read."""

    ids: pa.Array
    stored: npt.NDArray[np.generic]
    dtype: str
    files: tuple[Path, ...]


def open_source(vectors: Path, ids: Path | None, scratch: Path) -> Source:
    """Open any of the forms above; `scratch` is a folder for what has to be written down to be read in any order.

    Raises `UserError` for a file that cannot be read, is of another form, or does not fit its ids.
    """
    kind = vectors.suffix.lower()
    if not vectors.exists():
        raise UserError(f"{vectors}: file is missing")
    if vectors.is_dir() or kind == ".parquet":
        if ids is not None:
            raise UserError(f"{ids}: Parquet holds its ids itself, in {' or '.join(ID_COLUMNS)}; leave out --ids")
        return _parquet(vectors, scratch)
    if kind not in (".npy", ".safetensors"):
        raise UserError(f"{vectors}: {kind or 'no ending'} is not read; give .npy, .parquet, .safetensors, or a folder")
    if ids is None:
        raise UserError(f"{vectors}: holds no ids; give --ids FILE, one id a line in the order of the rows")
    stored, dtype = _npy(vectors) if kind == ".npy" else _safetensors(vectors)
    if stored.ndim != 2 or 0 in stored.shape:
        raise UserError(f"{vectors}: shape is {tuple(stored.shape)}, not rows and columns")
    names = read_ids(ids)
    if len(names) != len(stored):
        raise UserError(f"{ids}: {len(names):,} ids for {len(stored):,} rows of {vectors.name}")
    return Source(names, stored, dtype, (vectors,))


def read_ids(path: Path) -> pa.Array:
    """Ids in a file: one a line, or a JSON list where its name ends in .json. Raises `UserError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else text.split("\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{path}: cannot be read ({reason}); give one id a line, or a .json list") from None
    if path.suffix.lower() != ".json":
        lines = [line.removesuffix("\r") for line in found]
        ids = lines[:-1] if lines[-1] == "" else lines
        if "" in ids:
            raise UserError(f"{path}: line {ids.index('') + 1} is empty; give one id a line")
        return as_arrow(ids)
    if not isinstance(found, list):
        raise UserError(f"{path}: is not a list of ids")
    for entry, item in enumerate(found):
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise UserError(f"{path}: entry {entry} is {item!r:.60}, not an id")
    return as_arrow([str(item) for item in found])


def _npy(path: Path) -> tuple[npt.NDArray[np.generic], str]:
    try:
        with path.open("rb") as stream:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            header = read.get(np.lib.format.read_magic(stream), np.lib.format.read_array_header_2_0)
            dtype = header(stream)[2]
        if dtype.hasobject:
            raise UserError(f"{path}: holds pickled Python objects, which are not read; save a plain array of floats")
        if dtype.name not in STORED or dtype.name == "uint16":
            raise UserError(f"{path}: holds {dtype.name}, not {', '.join(_ELEMENTS.values())}; convert it first")
        return np.lib.format.open_memmap(path, mode="r"), dtype.name
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as .npy ({_first_line(error)})") from None


def _safetensors(path: Path) -> tuple[npt.NDArray[np.generic], str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:  # checks the header against the file
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (t.get_dtype(), tuple(t.get_shape())) for name, t in tensors.items()}
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({_first_line(error)})") from None
    flat = [name for name, (_, shape) in found.items() if len(shape) == 2]
    name = "vectors" if "vectors" in found else flat[0] if len(flat) == 1 else ""
    if not name:
        raise UserError(f"{path}: has no tensor 'vectors' and {len(flat)} of two dimensions ({', '.join(flat[:5])})")
    kind, shape = found[name]
    if kind not in _TENSORS:
        raise UserError(f"{path}: tensor {name!r} holds {kind}, not {', '.join(_TENSORS)}; convert it first")
    offset = 8 + length + header[name]["data_offsets"][0]
    if 0 in shape:
        return np.empty(shape, STORED[_TENSORS[kind]]), _TENSORS[kind]
    return np.memmap(path, STORED[_TENSORS[kind]], "r", offset, shape), _TENSORS[kind]


def _parquet(path: Path, scratch: Path) -> Source:
    """Rows of Parquet come only in the file's order, so that they are written down once, plainly."""
    files = tuple(sorted(p for p in path.glob("*.parquet") if p.name != "failed.parquet")) if path.is_dir() else (path,)
    if not files:
        raise UserError(f"{path}: no .parquet files here")
    ids, width, dtype, raw = [as_arrow([])], 0, "", scratch / "rows"
    with raw.open("wb") as stream:
        for file in files:
            for names, values, kind in _batches(file):
                if width and (values.shape[1], kind) != (width, dtype):
                    other = f"{values.shape[1]} columns of {kind}"
                    raise UserError(f"{file}: {other}, but {files[0].name} has {width} of {dtype}")
                width, dtype = values.shape[1], kind
                ids.append(names)
                stream.write(np.ascontiguousarray(values).data)
    rows = sum(len(part) for part in ids)
    if not rows:
        raise UserError(f"{path}: no rows")
    return Source(pa.concat_arrays(ids), np.memmap(raw, STORED[dtype], "r", shape=(rows, width)), dtype, files)


def _batches(path: Path) -> Iterator[tuple[pa.Array, npt.NDArray[np.generic], str]]:
    """Ids and vectors [n, d] of a file, some rows at a time, with the vectors' format."""
    try:
        # Buffered ahead, pages of all row groups would stay in memory until the file is closed.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            schema = file.schema_arrow
            id_column, column = (_column(path, schema, names) for names in (ID_COLUMNS, VECTOR_COLUMNS))
            kind = schema.field(column).type
            lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
            if not lists or kind.value_type not in _ELEMENTS:
                raise UserError(f"{path}: column {column} is {kind}, not lists of {', '.join(_ELEMENTS.values())}")
            width, first = 0, 0
            for batch in file.iter_batches(BATCH, columns=[id_column, column]):
                ids, vectors = as_arrow(batch[id_column]), batch[column]
                has = _lengths(vectors)
                width = width or int(has[0])
                bad = np.flatnonzero((has != width) | (has <= 0) | ids.is_null().to_numpy(zero_copy_only=False))
                values = vectors.flatten()
                if len(bad) or values.null_count:
                    raise UserError(_what_is_wrong(path, first, ids, vectors, width, bad))
                yield ids, values.to_numpy().reshape(-1, width), _ELEMENTS[kind.value_type]
                first += len(ids)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({_first_line(error)})") from None


def _column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    found = [name for name in names if name in schema.names]
    if not found:
        raise UserError(f"{path}: no column {' or '.join(names)}; it has {', '.join(schema.names)}")
    return found[0]


def _lengths(vectors: pa.Array) -> npt.NDArray[np.int64]:
    """Length of every list; -1 for one that is not there."""
    found: npt.NDArray[np.int64] = pc.list_value_length(vectors).fill_null(-1).to_numpy().astype(np.int64)
    return found


def _what_is_wrong(
    path: Path, first: int, ids: pa.Array, vectors: pa.Array, width: int, bad: npt.NDArray[np.int64]
) -> str:
    """The line for the first row of a batch that has no id, no vector, one of another length, or a hole in it."""
    holes = (row for row in range(len(ids)) if vectors[row].is_valid and None in vectors[row].as_py())
    row = int(bad[0]) if len(bad) else next(holes, 0)
    where, has = f"{path}: row {first + row}", int(_lengths(vectors)[row])
    if not ids[row].is_valid:
        return f"{where} has no id"
    item = ids[row].as_py()
    if has <= 0:
        return f"{where} (item {item!r}) has no vector"
    if has != width:
        return f"{where} (item {item!r}) has {has} values, the rows before have {width}"
    return f"{where} (item {item!r}) has an empty value"


def _first_line(error: Any) -> str:
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0][:200]
