"""items.parquet read lazily in units of consecutive rows, for Ray Data and for a plain loop.

A unit is what is embedded, written and, after a kill, done again as a whole. Its rows follow from the file and the unit
size alone, so an engine whose rounding depends on what shares a batch gives the same bytes in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW = "row"
"""Column with an item's index in the dataset, int64."""


def count_rows(path: str | Path) -> int:
    """Items in items.parquet, from its footer."""
    return int(pq.read_metadata(path).num_rows)


def unit_ranges(rows: int, unit: int) -> list[tuple[int, int]]:
    """[start, stop) of every unit."""
    return [(start, min(start + unit, rows)) for start in range(0, rows, unit)]


def read_unit(path: str | Path, columns: Sequence[str], start: int, stop: int) -> pa.Table:
    """Rows [start, stop) with `row`, `item_id` and `columns`; only the row groups that hold them are read."""
    names = ["item_id", *(name for name in columns if name != "item_id")]
    parts: list[pa.Table] = []
    with pq.ParquetFile(path) as file:
        first = 0
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            low, high = max(start, first), min(stop, first + rows)
            if low < high:
                parts.append(file.read_row_group(number, columns=names).slice(low - first, high - low))
            first += rows
    table = pa.concat_tables(parts)
    return table.add_column(0, ROW, pa.array(range(start, stop), pa.int64()))


def dataset_of(path: str | Path, columns: Sequence[str], unit: int, wanted: Iterable[tuple[int, int]]):  # type: ignore[no-untyped-def]
    """A Ray dataset of one block a unit, read when it is needed."""
    import ray.data
    from ray.data import ReadTask
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource

    ranges, names, source = list(wanted), list(columns), str(path)

    def task(start: int, stop: int) -> ReadTask:
        about = BlockMetadata(num_rows=stop - start, size_bytes=None, input_files=(source,), exec_stats=None)
        return ReadTask(lambda: [read_unit(source, names, start, stop)], about)

    class Items(Datasource):
        """The units as Ray read tasks."""

        def estimate_inmemory_data_size(self) -> int | None:
            """Not known before it is read."""
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[ReadTask]:
            """One task a unit, whatever parallelism Ray would like."""
            return [task(*r) for r in ranges]

    return ray.data.read_datasource(Items(), override_num_blocks=len(ranges))
