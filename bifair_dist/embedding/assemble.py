"""Staged units, in whatever order they were finished, to shards in item order. Bytes follow from the vectors alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bifair_dist.data.representations import rows_per_shard, write_manifest, write_shard
from bifair_dist.embedding.items import ROW, read_unit, unit_ranges
from bifair_dist.progress import Progress


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A staged file and the rows it spans."""

    path: Path
    low: int
    high: int


def index(staged: Path) -> list[StagedFile]:
    """Every staged file with its first and last row, read from the footers."""
    return [f for p in sorted(staged.glob("*.parquet")) for f in _span(p)]


def _span(path: Path) -> Iterator[StagedFile]:
    meta = pq.read_metadata(path)
    column = next(i for i in range(meta.num_columns) if meta.schema.column(i).path == ROW)
    stats = [meta.row_group(g).column(column).statistics for g in range(meta.num_row_groups)]
    if stats:
        yield StagedFile(path, min(s.min for s in stats), max(s.max for s in stats))


def assemble(
    staged: Path, items: Path, folder: Path, width: int, dtype: str, shard_rows: int, about: Mapping[str, Any]
) -> Path:
    """Write `folder`, a representations folder without failed.parquet. Memory: one shard and one staged file.

    Rows that were not staged (failed, and accepted as such) get a vector of zeros.
    """
    rows = int(pq.read_metadata(items).num_rows)
    size = shard_rows or rows_per_shard(width, dtype)
    files = index(staged)
    shards = []
    with Progress("writing shards", rows, "items") as progress:
        for number, (start, stop) in enumerate(unit_ranges(rows, size)):
            vectors = np.zeros((stop - start, width), np.float32)
            for file in files:
                if file.low < stop and file.high >= start:
                    table = pq.read_table(file.path, columns=[ROW, "vector"])
                    where = table[ROW].to_numpy()
                    inside = (where >= start) & (where < stop)
                    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                    vectors[where[inside] - start] = flat.reshape(-1, width)[inside]
            ids = read_unit(items, [], start, stop)["item_id"].to_pylist()
            shards.append(write_shard(folder, number, ids, vectors, dtype=dtype))
            progress.update(stop - start)
    write_manifest(folder, shards, about, ordered=True)
    return folder
