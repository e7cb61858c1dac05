"""Utilities when users and held-out items are both drawn again: the pigeonhole bootstrap (Owen 2007).

A bootstrap over users alone takes the catalogue as given. Where a few items make most of the hits, a group's utility
says as much about these items as about the group, and such intervals are too narrow. Here every user u and every item
i has an independent Poisson(1) weight in each replicate, the ranked lists staying as they are:

    recall_{u,g} = sum over held-out items of u in g of v_i hit_i / the same sum of v_i
    utility_g    = sum of w_u recall_{u,g} / sum of w_u, over users whose sum of v_i is above 0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.evaluation.bootstrap import poisson_weights
from bifair_dist.evaluation.groups import GroupMembership

_CHUNK = 1 << 22
"""Weights of held-out pairs held at a time: 32 MiB, a few times that at the peak."""


def redrawn_utilities(
    ranked: Tensor,
    users: Tensor,
    wanted: Csr,
    groups: Sequence[GroupMembership],
    *,
    n_items: int,
    seed: int,
    replicates: int,
) -> list[Tensor]:
    """Recall [R, 1] over all users, then the utilities [R, G] of each group table, float64, nan where not defined.

    `ranked` int64[U, K] are the lists of `users` int64[U]; `wanted` the held-out items of all users. Users' weights
    are those of `bootstrap_intervals` with the same seed, items' those of the next seed.
    """
    row, item = wanted.expand(users)
    places = torch.arange(len(users))[:, None] * n_items + ranked
    hit = torch.isin(row * n_items + item, places[ranked >= 0]).to(torch.float64)
    out = [_redrawn(row, item, hit, torch.zeros_like(row), 1, users, seed, replicates)]
    for table in groups:
        position, group = table.join(item if table.entity == "item" else users[row])
        pairs = row[position], item[position], hit[position]
        out.append(_redrawn(*pairs, group, len(table.labels), users, seed, replicates))
    return out


def _redrawn(
    row: Tensor, item: Tensor, hit: Tensor, group: Tensor, n_groups: int, users: Tensor, seed: int, replicates: int
) -> Tensor:
    """Utilities [R, n_groups] from held-out pairs: position of the user, item, whether it is in the list, group."""
    cells, cell = torch.unique(row * n_groups + group, return_inverse=True)  # users by groups that have a pair
    items, column = torch.unique(item, return_inverse=True)
    owner, members = users[cells // n_groups].numpy(), cells % n_groups
    out = torch.empty(replicates, n_groups, dtype=torch.float64)
    step = max(_CHUNK // max(len(row), len(items), 1), 1)
    for start in range(0, replicates, step):
        numbers = np.arange(start, min(start + step, replicates))
        weight = torch.from_numpy(poisson_weights(seed + 1, numbers, items.numpy()))[:, column]
        drawn = _sums(cell, weight, len(cells))
        recall = _sums(cell, weight * hit, len(cells)) / drawn.clamp_min(1.0)
        counted = torch.from_numpy(poisson_weights(seed, numbers, owner)) * (drawn > 0)
        out[numbers] = _sums(members, counted * recall, n_groups) / _sums(members, counted, n_groups)
    return out


def _sums(index: Tensor, values: Tensor, n: int) -> Tensor:
    return torch.zeros(len(values), n, dtype=torch.float64).index_add_(1, index, values)
