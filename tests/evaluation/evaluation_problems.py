"""Small random problems: ties, users without test items, groups nobody has, items in several groups or none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.evaluation import GroupMembership


@dataclass
class Problem:
    user_rows: Tensor
    item_rows: Tensor
    known: Csr
    test: Csr
    users: Tensor
    groups: tuple[GroupMembership, ...]

    @property
    def n_users(self) -> int:
        return len(self.user_rows)

    @property
    def n_items(self) -> int:
        return len(self.item_rows)


def problem(seed: int, n_users: int, n_items: int, *, ties: bool = True, density: float = 0.3) -> Problem:
    rng = torch.Generator().manual_seed(seed)

    def rows(n: int) -> Tensor:
        if ties:  # small integers: scores tie often and are exact however the product is blocked
            return torch.randint(-1, 2, (n, 3), generator=rng).to(torch.float64)
        return torch.randn(n, 8, generator=rng, dtype=torch.float64)

    def membership(name: str, entity: str, n: int, labels: tuple[str, ...], inhabited: int, share: float):
        member = torch.rand(n, inhabited, generator=rng) < share
        entity_index, group_index = member.nonzero().T
        return GroupMembership(name, entity, labels, entity_index.clone(), group_index.clone())  # type: ignore[arg-type]

    known = torch.rand(n_users, n_items, generator=rng) < density
    known[0] = True  # nothing left to recommend
    test = (torch.rand(n_users, n_items, generator=rng) < 0.2) & ~known
    test[n_users // 2] = False
    if n_users > 2:
        known[1, 2:] = True  # fewer than k left
    users = torch.randperm(n_users, generator=rng)[: max(1, (4 * n_users) // 5)]
    groups = (
        membership("genre", "item", n_items, ("a", "b", "c", "d", "nobody"), 4, 0.35),
        membership("side", "user", n_users, ("x", "y", "nobody"), 2, 0.5),
    )

    def pairs(marked: torch.Tensor) -> Csr:
        user, item = marked.nonzero().unbind(1)
        return Csr.of(user, item, n_users)

    return Problem(
        rows(n_users), rows(n_items), pairs(known), pairs(test), users, groups,
    )  # fmt: skip


def as_sets(of: Csr) -> dict[int, set[int]]:
    return {
        u: set(of.columns[of.indptr[u] : of.indptr[u + 1]].tolist()) for u in range(len(of.indptr) - 1)
    }  # fmt: skip


def popularity_of(p: Problem) -> Tensor:
    """Training pairs by item."""
    return torch.bincount(p.known.columns.to(torch.int64), minlength=p.n_items)


def slow_groups(p: Problem):
    out = {}
    for table in p.groups:
        members: dict[int, set[str]] = {}
        for e, g in zip(table.entity_index.tolist(), table.group_index.tolist(), strict=True):
            members.setdefault(e, set()).add(table.labels[g])
        out[table.name] = (table.entity, table.labels, members)
    return out
