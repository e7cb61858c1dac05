"""Which groups the examples of a batch belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bifair_dist.bilevel.weights.balance import Pairs
from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch

Entity = Literal["item", "user"]


@dataclass(frozen=True, slots=True)
class Membership:
    """Groups of items, of users, or of both; an entity may be in none or in several.

    A positive (u, i) is in the groups of its item and in those of its user. `rows` lists the groups of each item, or
    user, where there are such groups; `sizes` int64 [G] counts the members.
    """

    rows: dict[Entity, Csr]
    sizes: Tensor

    @classmethod
    def of(cls, entity: Entity, index: Tensor, group: Tensor, n_entities: int, n_groups: int) -> Membership:
        """From membership pairs (index[m], group[m]), int64 [M]."""
        return cls({entity: Csr.of(index, group, n_entities)}, torch.bincount(group, minlength=n_groups))

    @classmethod
    def side_by_side(cls, tables: Sequence[Membership]) -> Membership:
        """The groups of all tables, numbered one table after the other."""
        if len(tables) == 1:
            return tables[0]
        pairs: dict[Entity, list[tuple[Tensor, Tensor, int]]] = {}
        first = 0
        for table in tables:
            for entity, rows in table.rows.items():
                n = rows.indptr.numel() - 1
                index, group = rows.expand(torch.arange(n))
                pairs.setdefault(entity, []).append((index, group + first, n))
            first += table.sizes.numel()
        joined = {
            entity: Csr.of(torch.cat([i for i, _, _ in some]), torch.cat([g for _, g, _ in some]), some[0][2])
            for entity, some in pairs.items()
        }
        return cls(joined, torch.cat([table.sizes for table in tables]))

    def pairs(self, batch: Batch, start: int, stop: int) -> Pairs:
        """(example, group) of the examples [start, stop) of the batch, counted from `start`."""
        entities = {"item": batch.positives, "user": batch.users}
        found = [rows.expand(entities[entity][start:stop].cpu()) for entity, rows in self.rows.items()]
        return found[0] if len(found) == 1 else (torch.cat([e for e, _ in found]), torch.cat([g for _, g in found]))
