"""Exact top-k with ties broken by the lower index, and the merge of such lists from several shards.

torch.topk leaves the order of equal scores open, and on the boundary also which of them it returns; both differ
between devices and between shard widths. Scores are ranked as float32: sums whose last bits depend on how a matrix
product was blocked then stay equal where they are equal mathematically.
"""

from __future__ import annotations

import torch
from torch import Tensor

NO_ITEM = -1
"""Index in list places for which no item was left; the score there is -inf."""


def topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest scores of each row, descending, equal ones by ascending index.

    Args:
        scores: [B, N]; -inf marks what must not be returned.
        k: length of the lists, may exceed N.

    Returns:
        (scores float32[B, k], indices int64[B, k]), filled up with (-inf, -1).

    Raises:
        ValueError: a score is nan.
    """
    scores = scores.to(torch.float32) + 0.0  # selection by bit pattern (GPUs) may tell -0.0 from 0.0
    n = scores.shape[1]
    # One more than asked for: if that one equals the last, the choice among the equals was arbitrary.
    values, index = torch.topk(scores, min(k + 1, n), dim=1)
    if values.isnan().any():
        raise ValueError("scores hold nan: the representations have diverged")
    if n > k:
        last, beyond = values[:, k - 1], values[:, k]
        values, index = values[:, :k].contiguous(), index[:, :k].contiguous()
        tied = ((last == beyond) & (last > -torch.inf)).nonzero()[:, 0]
        if len(tied):
            index[tied] = _lowest_of_equals(scores[tied], values[tied], index[tied])
    else:
        values = torch.nn.functional.pad(values, (0, k - n), value=-torch.inf)
        index = torch.nn.functional.pad(index, (0, k - n), value=NO_ITEM)
    index = index.masked_fill(values == -torch.inf, NO_ITEM)
    # torch.topk has sorted by value: only rows with equals are left to be put in order.
    equals = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1).nonzero()[:, 0]
    if len(equals):
        index[equals] = in_order(values[equals], index[equals])[1]
    return values, index


def in_order(values: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Both [B, M], sorted by descending value, equal values by ascending index."""
    index, by_index = index.sort(dim=1)
    values, by_value = values.gather(1, by_index).sort(dim=1, descending=True, stable=True)
    return values, index.gather(1, by_value)


def merge(values: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Top-k of lists laid side by side: float32[B, M] and global indices int64[B, M], M >= k, as from `topk`."""
    values, index = in_order(values, index)
    return values[:, :k].contiguous(), index[:, :k].contiguous()


def _lowest_of_equals(scores: Tensor, values: Tensor, index: Tensor) -> Tensor:
    """`index` [R, k] with the entries at the k-th value replaced by the lowest indices that have this value."""
    last = values[:, -1:]
    open_places = values == last
    equal = scores == last
    chosen = equal & (equal.cumsum(1) <= open_places.sum(1, keepdim=True))
    # Both masks have the same number of entries in each row, and both are read row by row.
    out = index.clone()
    out[open_places] = chosen.nonzero()[:, 1]
    return out
