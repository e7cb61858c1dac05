"""Top-k of the rows of a matrix product, tile by tile, without ever holding the product.

    S = A B^T          tiles of a few users x some items, each small enough to stay in a processor's cache
    M = max over chunks of neighbouring items of S
    t = the k-th highest score of the user so far; an entry matters where S > t, and only chunks with M > t have one

Items come in ascending order, so a later entry that equals t loses its tie and `>` is exact. Before the first tile is
looked into, t is the number just below the k-th highest maximum of its chunks: k entries reach that maximum. Entries
are collected and merged when the number of items seen has doubled: by then about k more have come in, so a user costs
k log2(N) entries, and all the rest is one pass over the scores for M. torch.topk on whole rows takes longer than the
product itself (benchmarks/results/ranking.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.evaluation.topk import NO_ITEM, topk

CHUNK = 32
"""Items of a chunk: fewer make the reduction slow (it is vectorised), more are looked into in vain."""
ITEMS = 1 << 12
"""Items of a tile."""
TILE = 1 << 20
"""Scores of a tile: 4 MiB in float32; from 2^20 to 2^21 the product was fastest on the project's machine."""
GPU_ITEMS, GPU_TILE = 1 << 16, 1 << 28
"""Both on a GPU, where a tile is several launches and a wait: the fastest measured (benchmarks/results/gpu.md)."""


def product_topk(a: Tensor, b: Tensor, k: int, masked: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The k highest entries of each row of a b^T, descending, equal ones by ascending index, compared as float32.

    Args:
        a: [R, D].
        b: [N, D].
        k: length of the lists, may exceed N.
        masked: (row, column) int64[M] each, rows ascending: entries that must not be returned.

    Returns:
        (scores float32[R, k], indices int64[R, k]), filled up with (-inf, -1).

    Raises:
        ValueError: a score is nan.
    """
    items, scores = (ITEMS, TILE) if b.device.type == "cpu" else (GPU_ITEMS, GPU_TILE)
    width = min(items, max(len(b), 1))
    height = max(scores // width, 1)
    tile = b.new_empty(min(height, len(a)) * width)  # one memory for all: fresh pages cost as much as the product
    bounds = [*range(0, len(a), height), len(a)]
    cuts = torch.searchsorted(masked[0], torch.tensor(bounds, device=masked[0].device)).tolist()
    found = []
    for number, start in enumerate(bounds[:-1]):
        here = slice(cuts[number], cuts[number + 1])
        rows = a[start : bounds[number + 1]]
        found.append(_rows(rows, b, k, (masked[0][here] - start, masked[1][here]), tile, width))
    if not found:
        return a.new_zeros(0, k, dtype=torch.float32), masked[0].new_zeros(0, k)
    return torch.cat([values for values, _ in found]), torch.cat([index for _, index in found])


def _rows(
    a: Tensor, b: Tensor, k: int, masked: tuple[Tensor, Tensor], tile: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """`product_topk` for as many rows as one tile has."""
    best = _Best(len(a), k, b.device)
    row, column = masked
    starts = list(range(0, len(b), width))
    if len(starts) > 1:
        column, order = column.sort()
        row = row[order]
    cuts = torch.searchsorted(column, torch.tensor([*starts, len(b)], device=column.device)).tolist()
    merged = 0
    for number, start in enumerate(starts):
        items = b[start : start + width]
        scores = torch.mm(a, items.T, out=tile[: len(a) * len(items)].view(len(a), len(items)))
        here = slice(cuts[number], cuts[number + 1])
        scores[row[here], column[here] - start] = -torch.inf
        best.look_into(scores, start)
        if start + len(items) >= 2 * merged or start + len(items) == len(b):
            best.merge()
            merged = start + len(items)
    return best.values, best.index


class _Best:
    """The k best of each row so far, and entries that may change them."""

    def __init__(self, rows: int, k: int, device: torch.device) -> None:
        self.values = torch.full((rows, k), -torch.inf, device=device)
        self.index = torch.full((rows, k), NO_ITEM, device=device)
        self._least = self.values[:, -1]
        self._new: list[tuple[Tensor, Tensor, Tensor]] = []
        self._first = True

    def look_into(self, scores: Tensor, start: int) -> None:
        """Collect what is above the k-th best; `scores` [R, n] are those of columns `start` and on."""
        n = scores.shape[1]
        whole = n - n % CHUNK
        for first, last, chunk in ((0, whole, CHUNK), (whole, n, n - whole)):
            if first == last:
                continue
            chunked = scores[:, first:last].unflatten(1, (-1, chunk))
            maxima = chunked.amax(2).to(torch.float32)
            if maxima.isnan().any():
                raise ValueError("scores hold nan: the representations have diverged")
            k = self.values.shape[1]
            wanted = maxima > self._least[:, None]
            if self._first and maxima.shape[1] >= k:
                least = maxima.topk(k, dim=1).values[:, -1:]
                equal = maxima == least
                wanted &= (maxima > least) | (equal & (equal.cumsum(1) <= k))  # of equals the first k are enough
                self._least = torch.nextafter(least, torch.full_like(least, -torch.inf))[:, 0]
            self._first = False
            row, where = wanted.nonzero(as_tuple=True)
            entries = chunked[row, where].to(torch.float32)
            hit, place = (entries > self._least[row, None]).nonzero(as_tuple=True)
            self._new.append((row[hit], entries[hit, place], start + first + where[hit] * chunk + place))

    def merge(self) -> None:
        """Take the collected entries in."""
        row, value, index = (torch.cat(parts) for parts in zip(*self._new, strict=True))
        row, order = row.sort(stable=True)
        counts = torch.bincount(row, minlength=len(self.values))
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        shape = (len(counts), int(counts.max()))
        values = value.new_full(shape, -torch.inf).index_put_((row, place), value[order])
        indices = index.new_full(shape, NO_ITEM).index_put_((row, place), index[order])
        # Equal scores stand in ascending order of their items: the best so far come first, then tile by tile.
        values, indices = torch.cat([self.values, values], 1), torch.cat([self.index, indices], 1)
        self.values, place = topk(values, self.values.shape[1])
        self.index = torch.where(place == NO_ITEM, NO_ITEM, indices.gather(1, place.clamp(min=0)))
        self._least, self._new = self.values[:, -1], []
