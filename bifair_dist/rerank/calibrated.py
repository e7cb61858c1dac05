"""Calibrated lists: each user's list has the groups in the proportions of what the user has.

For a list L of one user, with p(g) the share of group g in the user's history and q(g) that in L,

    (1 - strength) sum_{i in L} s_i  -  strength * |L| * KL(p || (1 - a) q + a p),     a = .01

is made as large as it can be by adding one item after the other, the one that adds most (greedy: the objective is
submodular, so at least 1 - 1/e of the optimum). Items in no group have no part in p and q.

Source: Steck, Calibrated Recommendations, RecSys 2018, eq. 3, 5 to 7. His sum of scores is set against one divergence;
here the divergence counts once for each place, so that a strength means the same for lists of any length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.rerank.candidates import Candidates

SMOOTHING = 0.01
"""a: keeps the divergence finite where a list has no item of a group (the paper's value)."""
BLOCK = 512
"""Users at a time: C x G numbers each."""


def calibrated(found: Candidates, k: int, strength: float, history: Tensor) -> Tensor:
    """Lists int64 [U, k] in the order in which items were added, -1 where a user has fewer candidates.

    `history` float64 [U, G]: p; a row of zeros (a user without items in groups) leaves the list as it is. `strength` in
    [0, 1]; 0 gives the model's lists.
    """
    rows = range(0, len(found.items), BLOCK)
    return torch.cat([_block(found, slice(r, r + BLOCK), k, strength, history[r : r + BLOCK]) for r in rows])


def _block(found: Candidates, rows: slice, k: int, strength: float, p: Tensor) -> Tensor:
    items, scores, groups = found.items[rows], found.scores[rows], found.groups(rows)
    gone = items < 0
    lists = torch.full((len(items), k), -1, dtype=torch.int64)
    counts, before = torch.zeros_like(p), torch.zeros(len(items), dtype=p.dtype)
    user = torch.arange(len(items))
    for place in range(min(k, items.shape[1])):
        after = (place + 1) * divergence(p[:, None], counts[:, None] + groups)
        gain = (1 - strength) * scores.clamp_min(0) - strength * (after - before[:, None])
        best = gain.masked_fill(gone, -torch.inf).argmax(1)  # the first of equal ones, which the model has higher
        there = ~gone[user, best]
        lists[there, place] = items[user, best][there]
        counts[there] += groups[user, best][there]
        before = torch.where(there, after[user, best], before)
        gone[user, best] = True
    return lists


def divergence(p: Tensor, counts: Tensor) -> Tensor:
    """KL(p || (1 - a) q + a p) [...] with q = counts / sum of counts; p, counts [..., G].

    A list without an item in any group has q = 0, so that its divergence is -log a for any p.
    """
    q = counts / counts.sum(-1, keepdim=True).clamp_min(1e-12)
    mixed = (1 - SMOOTHING) * q + SMOOTHING * p
    return torch.where(p > 0, p * (p.clamp_min(1e-300) / mixed.clamp_min(1e-300)).log(), 0.0).sum(-1)
