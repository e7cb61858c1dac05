"""Any Arrow type as text: ``string``, or ``list<string>`` where the cells are lists."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

LIST = pa.list_(pa.string())
LABELS = ("name", "label", "title", "value", "genre", "category", "description")
"""Fields of a struct that name it, the best first."""


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings or lists of strings, nulls kept.

    Whole floats and decimals lose their fraction (113.0 is ``113``), nan is null, dates are ISO 8601, 16 bytes are a
    UUID, a struct is the field that names it or else JSON. Raises ``pa.ArrowException`` for bytes that are not text.
    """
    chunks = [_text(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks, chunks[0].type if chunks else pa.string())


def is_list(kind: pa.DataType) -> bool:
    """Whether cells of this type are lists, of any of Arrow's kinds."""
    return bool(
        kinds.is_list(kind)
        or kinds.is_large_list(kind)
        or kinds.is_fixed_size_list(kind)
        or kinds.is_list_view(kind)
        or kinds.is_large_list_view(kind)
    )


def label_field(names: Sequence[str]) -> str | None:
    """The field that names a struct, or None: one of ``LABELS``, or the only one there is."""
    return next((name for name in LABELS if name in names), names[0] if len(names) == 1 else None)


def _text(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _uuids(array.storage) if kind.extension_name == "arrow.uuid" else _text(array.storage)
    if kinds.is_dictionary(kind):
        return _text(array.dictionary).take(array.indices)
    if kinds.is_run_end_encoded(kind):
        return _text(pc.run_end_decode(array))
    if is_list(kind):
        return _lists(array)
    if kinds.is_struct(kind):
        return _structs(array)
    if kinds.is_map(kind):
        return _json(array)
    if kinds.is_fixed_size_binary(kind) and kind.byte_width == 16:
        try:
            return _printable(array.cast(pa.string()))
        except pa.ArrowInvalid:
            return _uuids(array)
    if kinds.is_floating(kind):
        return _floats(array.cast(pa.float64()))
    if kinds.is_decimal(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), r"^(-?\d+)\.0+$", r"\1")
    if kinds.is_temporal(kind) and not kinds.is_duration(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), r"\.0+\b", "")
    return array.cast(pa.string())


def _floats(array: pa.Array) -> pa.Array:
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), float(1 << 63)))
    numbers = pc.if_else(whole, array, 0.0).cast(pa.int64()).cast(pa.string())  # or 1e16 would be "1e+16"
    return pc.if_else(whole, numbers, array.cast(pa.string()))


def _printable(text: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(text, r"[\x00-\x1f\x7f]")).as_py():
        raise pa.ArrowInvalid("bytes that are not text")
    return text


def _uuids(array: pa.Array) -> pa.Array:
    return pa.array([value and str(uuid.UUID(bytes=value)) for value in array.to_pylist()], pa.string())


def _lists(array: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())  # flatten() leaves out what nulls hide
    values = _text(array.flatten())
    if is_list(values.type):  # lists of lists, as the category paths of Amazon 2014
        offsets, values = values.offsets.take(offsets), values.values
    return pa.ListArray.from_arrays(offsets, values, mask=pc.is_null(array) if array.null_count else None)


def _structs(array: pa.Array) -> pa.Array:
    name = label_field([field.name for field in array.type])
    return _json(array) if name is None else _text(pc.struct_field(array, name))


def _json(array: pa.Array) -> pa.Array:
    cells = (cell if cell is None else json.dumps(cell, default=str, ensure_ascii=False) for cell in array.to_pylist())
    return pa.array(list(cells), pa.string())
