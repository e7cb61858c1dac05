"""Catalogues with power-law degrees, made in memory: what the benchmarks run on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GROUPS = 9


@dataclass(frozen=True, slots=True)
class Pairs:
    """Training pairs int32 [E], sorted, of U users and N items, and the groups of the items."""

    user: Tensor
    item: Tensor
    n_users: int
    n_items: int
    item_of_group: Tensor
    group: Tensor
    n_groups: int


def synthetic_pairs(
    n_users: int, n_items: int, n_pairs: int, seed: int = 0, n_groups: int = GROUPS, device: str = "cpu"
) -> Pairs:
    """`n_pairs` distinct pairs with power-law degrees (exponents 0.4 and 0.7), one of uneven groups an item.

    Drawn on `device`, where they stay: the draw of one seed differs between kinds of device.
    """
    rng = torch.Generator(device).manual_seed(seed)

    def skewed(n: int, power: float, size: int) -> Tensor:
        share = torch.arange(1, n + 1, dtype=torch.float64, device=device).pow(-power).cumsum(0)
        rank = torch.searchsorted(
            share, torch.rand(size, generator=rng, dtype=torch.float64, device=device) * share[-1]
        )
        return torch.randperm(n, generator=rng, device=device)[rank.clamp(max=n - 1)]

    keys = torch.empty(0, dtype=torch.int64, device=device)
    while len(keys) < n_pairs:  # duplicates are drawn again
        more = int(1.2 * (n_pairs - len(keys))) + 1
        drawn = skewed(n_users, 0.4, more) * n_items + skewed(n_items, 0.7, more)
        keys = torch.unique(torch.cat([keys, drawn]))
    keys = keys[torch.randperm(len(keys), generator=rng, device=device)[:n_pairs]].sort().values
    group = (torch.rand(n_items, generator=rng, device=device).square() * n_groups).long()
    user, item = (keys // n_items).int(), (keys % n_items).int()
    return Pairs(user, item, n_users, n_items, torch.arange(n_items, device=device), group, n_groups)


def unit_rows(rows: int, d: int, seed: int, device: str = "cpu") -> Tensor:
    """Random rows of length 1, [rows, d], made in place."""
    z = torch.empty(rows, d, device=device).normal_(generator=torch.Generator(device).manual_seed(seed))
    return F.normalize(z, dim=1, out=z)
