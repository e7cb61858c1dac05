"""Items of each user as compressed rows: what to mask before ranking, and what to find again in the ranking."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class UserItems:
    """Row u holds `items[indptr[u]:indptr[u + 1]]`, ascending and without duplicates.

    `indptr` int64[U + 1], `items` int64[E], global item indices. Every rank holds all of it.
    """

    indptr: Tensor
    items: Tensor

    @classmethod
    def from_pairs(cls, user: Tensor, item: Tensor, n_users: int) -> UserItems:
        """From pairs (user int64[E], item int64[E]) in any order; duplicates are dropped."""
        width = int(item.max()) + 1 if len(item) else 1
        pairs = torch.unique(user * width + item)
        counts = torch.bincount(pairs // width, minlength=n_users)
        return cls(_offsets(counts), pairs % width)

    def to(self, device: torch.device | str) -> UserItems:
        """The same on another device."""
        return UserItems(self.indptr.to(device), self.items.to(device))

    def expand(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs (row, item), int64[M] each, sorted, of the given users; row is the position in `users`."""
        counts = self.indptr[users + 1] - self.indptr[users]
        row = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        within = torch.arange(len(row), device=users.device) - _offsets(counts)[row]
        return row, self.items[self.indptr[users][row] + within]


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
