"""What a source hands over: integer-coded interactions with their sorted string ids; the tables of items and users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.reading.notes import Notes

Codes = npt.NDArray[np.int32]


@dataclass(slots=True)
class Pairs:
    """E interactions as codes into sorted id lists; optional columns are None where the source has none.

    user, item: int32 [E]; rating: float32 [E]; timestamp: int64 [E], unit of the source;
    part: int8 [E], 0 train, 1 valid, 2 test, for sources that come with a split of their own.
    """

    user: Codes
    item: Codes
    rating: npt.NDArray[np.float32] | None = None
    timestamp: npt.NDArray[np.int64] | None = None
    part: npt.NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: npt.NDArray[Any]) -> Pairs:
        """Rows chosen by a mask or by positions."""
        optional = (None if c is None else c[rows] for c in (self.rating, self.timestamp, self.part))
        return Pairs(self.user[rows], self.item[rows], *optional)


@dataclass(slots=True)
class RawData:
    """Everything read from a source. ``items`` is aligned with ``item_ids`` (one row each, nulls where unknown)."""

    pairs: Pairs
    user_ids: pa.Array
    item_ids: pa.Array
    items: pa.Table
    users: pa.Table | None = None
    files: Sequence[Path] = ()
    items_source: str = "items"
    notes: Notes = field(default_factory=Notes)
    planted: dict[str, Any] | None = None


def encode_ids(column: pa.ChunkedArray | pa.Array) -> tuple[pa.Array, Codes]:
    """Distinct ids in plain string order and, per row, the position of its id (int32)."""
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    coded = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column.unify_dictionaries()
    if column.num_chunks == 0:
        return pa.array([], pa.string()), np.empty(0, np.int32)
    dictionary = coded.chunk(0).dictionary.cast(pa.string())
    order = pc.sort_indices(dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes = np.concatenate([rank[chunk.indices.to_numpy(zero_copy_only=False)] for chunk in coded.chunks])
    return dictionary.take(pa.array(order)), codes


def align(table: pa.Table | None, key: str, ids: pa.Array) -> tuple[pa.Table, int]:
    """One row per id in the order of ``ids``, nulls where the table has none, and the count of repeated rows dropped.

    Of several rows with one key the first counts.
    """
    if table is None:
        return pa.table({key: ids}), 0
    keys = table[key].cast(pa.string()).combine_chunks()
    codes = keys.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    repeated = len(keys) - len(first)
    if repeated:
        table = table.take(pa.array(np.sort(first)))
        keys = table[key].cast(pa.string()).combine_chunks()
    rows = pc.index_in(ids, value_set=keys)
    others = [name for name in table.column_names if name != key]
    aligned = table.select(others).take(rows) if others else None
    columns = {key: ids} | ({name: aligned[name] for name in others} if aligned is not None else {})
    return pa.table(columns), repeated


def whole_numbers(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
    """Timestamps as int64; a fraction of the source's unit is cut off."""
    return column.to_numpy().astype(np.int64)
