"""How far items' vectors are from where a run began, and who their neighbours were and are.

    drift_i = 1 - cosine(z_i, z0_i)          0: the direction did not change; 1: at a right angle to where it was

Vectors are read in blocks of rows. Of a catalogue with more than 512 MiB of them, evenly spaced blocks of that size in
all are looked at, and the rest is not: a report must end in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bifair_dist.data.dataset import Index, Strings
from bifair_dist.data.representations import read_manifest, read_rows

BLOCK_BYTES, MOST_BYTES = 32 << 20, 512 << 20

Numbers = npt.NDArray[np.float64]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Vectors:
    """A representations folder of the items `item_ids`, read some rows at a time."""

    folder: Path
    item_ids: Strings

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(read_manifest(self.folder)["dim"])

    def directions(self, start: int, stop: int) -> Numbers:
        """Rows [start, stop) at length 1, float64 [stop - start, d]; a zero vector stays one."""
        rows = read_rows(self.folder, self.item_ids, start, stop, np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def spans(n_items: int, dim: int, block_bytes: int = BLOCK_BYTES, most_bytes: int = MOST_BYTES) -> list[Span]:
    """Rows to look at: all of them in blocks, or evenly spaced blocks of `most_bytes` (as float64) in all."""
    rows = max(1, block_bytes // (8 * dim))
    count = max(1, most_bytes // (8 * dim * rows))
    if n_items <= rows * count:
        return [(start, min(start + rows, n_items)) for start in range(0, n_items, rows)]
    starts = np.linspace(0, n_items - rows, count).astype(np.int64).tolist()
    return [(start, start + rows) for start in starts]


def drifts(first: Vectors, last: Vectors, looked_at: Sequence[Span]) -> tuple[Index, Numbers]:
    """(items int64 [M], drift float64 [M]) of the rows looked at. Zero vectors that stay zero have not moved."""
    items, found = [], []
    for start, stop in looked_at:
        a, b = first.directions(start, stop), last.directions(start, stop)
        still = ~a.any(axis=1) & ~b.any(axis=1)
        items.append(np.arange(start, stop))
        # Half the squared distance: exactly 0 where nothing moved, which 1 minus a product is not.
        both = a.any(axis=1) & b.any(axis=1)
        found.append(np.where(both, 0.5 * np.square(a - b).sum(axis=1), np.where(still, 0.0, 1.0)))
    return np.concatenate(items), np.concatenate(found)


def nearest(
    vectors: Vectors, looked_at: Sequence[Span], queries: Sequence[int], count: int
) -> list[list[tuple[int, float]]]:
    """For each item of `queries` the `count` closest other ones among the rows looked at: (item, cosine), best first.

    Equal cosines go to the smaller item.
    """
    asked = np.concatenate([vectors.directions(q, q + 1) for q in queries])
    best: list[list[tuple[int, float]]] = [[] for _ in queries]
    for start, stop in looked_at:
        cosines = vectors.directions(start, stop) @ asked.T
        for i, query in enumerate(queries):
            if start <= query < stop:
                cosines[query - start, i] = -np.inf
            top = np.argsort(-cosines[:, i], kind="stable")[:count]
            here = [(int(start + t), float(cosines[t, i])) for t in top if np.isfinite(cosines[t, i])]
            best[i] = sorted([*best[i], *here], key=lambda pair: (-pair[1], pair[0]))[:count]
    return best


def quantiles(values: Numbers) -> dict[str, Any]:
    """Mean, median and the tenths at both ends, None without values."""
    if not len(values):
        return {"items": 0, "mean": None, "p10": None, "median": None, "p90": None}
    low, middle, high = (float(v) for v in np.quantile(values, (0.1, 0.5, 0.9)))
    return {"items": len(values), "mean": float(values.mean()), "p10": low, "median": middle, "p90": high}
