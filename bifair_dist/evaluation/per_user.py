"""What each user contributes to the metrics, from the user's ranked list and test positives.

    recall@K = hits / positives        hit_ratio@K = 1 if there is a hit
    ndcg@K   = sum over hits of 1 / log2(place + 1), places from 1, over the same sum for min(K, positives) hits on top
    recall_{u,g}@K = hits in g / positives in g, ndcg_{u,g}@K likewise, for users with a positive in item group g
    for a user group g the utility of its member u is recall@K (ndcg@K) itself

A hit or positive in several groups counts in each. Users without a test positive contribute to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.evaluation.groups import GroupMembership


@dataclass(frozen=True, slots=True)
class GroupValues:
    """Utilities of user-group pairs: row (the user's position, ascending) and group int64[P], values float64[P]."""

    row: Tensor
    group: Tensor
    recall: Tensor
    ndcg: Tensor


@dataclass(frozen=True, slots=True)
class PerUser:
    """This rank's users (global indices int64[U_r]); the float64[U_r] are 0 where `counted` is 0 (no test positive)."""

    users: Tensor
    counted: Tensor
    recall: Tensor
    ndcg: Tensor
    hit_ratio: Tensor
    groups: tuple[GroupValues, ...]


def per_user(ranked: Tensor, users: Tensor, test: Csr, groups: Sequence[GroupMembership], *, n_items: int) -> PerUser:
    """Contributions of this rank's users.

    Args:
        ranked: int64[U_r, K], item -1 where the list ends early.
        users: int64[U_r], whose lists these are.
        test: test positives of all users.
        groups: group tables.
        n_items: items of the whole catalogue.
    """
    k = ranked.shape[1]
    row, item = test.expand(users)
    place = _place_of(ranked, row, item, n_items)
    hit = place < k
    gain = torch.where(hit, _discount(place), 0.0)
    n = len(users)
    positives = torch.bincount(row, minlength=n)
    counted = (positives > 0).to(torch.float64)
    recall = _sum_by(row, hit.to(torch.float64), n) / positives.clamp_min(1)
    ndcg = _sum_by(row, gain, n) / _ideal(positives, k)
    hit_ratio = (_sum_by(row, hit.to(torch.float64), n) > 0).to(torch.float64)

    tables = []
    for table in groups:
        if table.entity == "item":
            position, group = table.join(item)
            tables.append(_item_group_values(row[position], group, hit[position], gain[position], len(table.labels), k))
        else:
            member, group = table.join(users)
            with_positive = counted[member] > 0
            member, group = member[with_positive], group[with_positive]
            tables.append(GroupValues(member, group, recall[member], ndcg[member]))
    return PerUser(users, counted, recall, ndcg, hit_ratio, tuple(tables))


def _place_of(ranked: Tensor, row: Tensor, item: Tensor, n_items: int) -> Tensor:
    """Place (from 0) of each positive in its user's list, K where it is not in it; int64[M]."""
    k = ranked.shape[1]
    keys = row * n_items + item  # ascending, as `expand` is sorted by row, then item
    place = torch.full_like(keys, k)
    rows = torch.arange(len(ranked), device=ranked.device)[:, None]
    wanted = torch.where(ranked >= 0, rows * n_items + ranked, -1).reshape(-1)
    if len(keys):
        found = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        hit = (keys[found] == wanted).nonzero()[:, 0]
        place[found[hit]] = hit % k
    return place


def _item_group_values(row: Tensor, group: Tensor, hit: Tensor, gain: Tensor, n_groups: int, k: int) -> GroupValues:
    keys, inverse = torch.unique(row * n_groups + group, return_inverse=True)
    positives = torch.bincount(inverse, minlength=len(keys))
    recall = _sum_by(inverse, hit.to(torch.float64), len(keys)) / positives
    ndcg = _sum_by(inverse, gain, len(keys)) / _ideal(positives, k)
    return GroupValues(keys // n_groups, keys % n_groups, recall, ndcg)


def _discount(place: Tensor) -> Tensor:
    return 1.0 / torch.log2(place.to(torch.float64) + 2.0)


def _ideal(positives: Tensor, k: int) -> Tensor:
    """DCG of min(K, positives) hits on top; that of one hit for users without positives, who are not counted."""
    best = _discount(torch.arange(k, device=positives.device)).cumsum(0)
    return best[positives.clamp(1, k) - 1]


def _sum_by(index: Tensor, values: Tensor, n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.float64, device=values.device).index_add_(0, index, values)
