"""Group memberships of items or users, as evaluation sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GroupMembership:
    """A group table. An item or user may be in no group, in one or in several.

    `labels[g]` names group g; `entity_index` and `group_index` (int64[M]) are the membership pairs, without duplicates.
    """

    name: str
    entity: Literal["item", "user"]
    labels: tuple[str, ...]
    entity_index: Tensor
    group_index: Tensor

    def join(self, entities: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (position in `entities` int64[P], group int64[P]), one for every membership of every entry."""
        order = torch.argsort(self.entity_index, stable=True).to(entities.device)
        sorted_entities = self.entity_index.to(entities.device)[order]
        low = torch.searchsorted(sorted_entities, entities)
        counts = torch.searchsorted(sorted_entities, entities, right=True) - low
        position = torch.repeat_interleave(torch.arange(len(entities), device=entities.device), counts)
        start = counts.cumsum(0) - counts
        within = torch.arange(len(position), device=entities.device) - start[position]
        return position, self.group_index.to(entities.device)[order][low[position] + within]

    def sizes(self) -> Tensor:
        """Members of each group, int64[G]."""
        return torch.bincount(self.group_index, minlength=len(self.labels))
