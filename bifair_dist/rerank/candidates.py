"""What a re-ranker starts from: the best items of each user by a trained model, with the items' groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.evaluation.groups import GroupMembership


@dataclass(frozen=True, slots=True)
class Candidates:
    """Of U users the C best items each.

    `items` int64 [U, C], best first, -1 where a list ends early. `scores` float64 [U, C] in [0, 1]: the model's, moved
    and stretched so that each user's best candidate has 1 and the last one 0; -inf where there is no item.
    `membership` float64 [N, G]: each item's share in each group, 1 / (its number of groups); zeros for an item in none.
    """

    items: Tensor
    scores: Tensor
    membership: Tensor

    def groups(self, rows: slice) -> Tensor:
        """Shares of the candidates of some users in each group, float64 [rows, C, G]."""
        return self.membership[self.items[rows].clamp_min(0)]


def candidates(scores: Tensor, items: Tensor, table: GroupMembership, n_items: int) -> Candidates:
    """From a model's lists `scores` [U, C] and `items` int64 [U, C], best first, -1 with -inf where a list ends."""
    there = items >= 0
    scores = scores.to(torch.float64)
    least = scores.masked_fill(~there, torch.inf).amin(1, keepdim=True)
    width = (scores.masked_fill(~there, -torch.inf).amax(1, keepdim=True) - least).clamp_min(1e-12)
    return Candidates(items, ((scores - least) / width).masked_fill(~there, -torch.inf), shares(table, n_items))


def shares(table: GroupMembership, n_items: int) -> Tensor:
    """Each item's share in each group, float64 [N, G]; an item in several groups belongs to each in equal parts."""
    out = torch.zeros(n_items, len(table.labels), dtype=torch.float64)
    out[table.entity_index, table.group_index] = 1.0
    return out / out.sum(1, keepdim=True).clamp_min(1.0)
