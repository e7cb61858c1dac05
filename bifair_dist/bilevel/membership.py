"""Which groups the examples of a batch belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bifair_dist.bilevel.weights.balance import Pairs
from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Membership:
    """Groups of items or of users; an entity may be in none or in several.

    `entity` says whose groups they are: a positive (u, i) is in the groups of its item, or of its user. `rows` lists
    the groups of each entity; `sizes` int64 [G] counts the members.
    """

    entity: Literal["item", "user"]
    rows: Csr
    sizes: Tensor

    @classmethod
    def of(
        cls, entity: Literal["item", "user"], index: Tensor, group: Tensor, n_entities: int, n_groups: int
    ) -> Membership:
        """From membership pairs (index[m], group[m]), int64 [M]."""
        return cls(entity, Csr.of(index, group, n_entities), torch.bincount(group, minlength=n_groups))

    def pairs(self, batch: Batch, start: int, stop: int) -> Pairs:
        """(example, group) of the examples [start, stop) of the batch, counted from `start`."""
        entities = batch.positives if self.entity == "item" else batch.users
        return self.rows.expand(entities[start:stop].cpu())
