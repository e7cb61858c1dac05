"""How much of the long tail is shown at all.

    head        the fewest items that hold a share h of the training pairs, most taken first, ties by lower index
    coverage    items outside the head that are in any list / items outside the head

Source: Abdollahpouri, Burke & Mobasher, Managing Popularity Bias in Recommender Systems with Personalized Re-ranking,
FLAIRS 2019 (the short head has 80 % of the interactions), and their measure of aggregate coverage of the tail.
"""

from __future__ import annotations

import torch
from torch import Tensor

HEAD = 0.8
"""h."""


def long_tail(popularity: Tensor, head: float = HEAD) -> Tensor:
    """bool [N]: the items outside the head, from training pairs by item [N]; all where there is no pair."""
    counts, order = popularity.to(torch.int64).sort(descending=True, stable=True)
    before = counts.cumsum(0) - counts
    tail = torch.ones(len(counts), dtype=torch.bool, device=counts.device)
    tail[order] = before >= head * counts.sum()
    return tail


def tail_coverage(exposure: Tensor, tail: Tensor) -> float:
    """Share of the tail's items that are shown, from how often each item is [N]; nan without a tail."""
    there = int(tail.sum())
    return int((tail & (exposure > 0)).sum()) / there if there else float("nan")
