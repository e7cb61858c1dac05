"""Group memberships of items or users, as evaluation sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bifair_dist.csr import Csr


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
        n = 1 + max((int(t.max()) for t in (self.entity_index, entities) if t.numel()), default=0)
        return Csr.of(self.entity_index, self.group_index, n).to(entities.device).expand(entities)

    def sizes(self) -> Tensor:
        """Members of each group, int64[G]."""
        return torch.bincount(self.group_index, minlength=len(self.labels))
