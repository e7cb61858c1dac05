"""Groups by training count, of items (popularity) and users (activity): equal sizes, or equal interaction mass."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bifair_dist.data.dataset import GroupTable, Index

KINDS = {"quintiles": 5, "quartiles": 4, "equal_mass": 5}


def count_groups(name: str, entity: Literal["item", "user"], counts: Index, kind: str) -> GroupTable:
    """Cut the entities, sorted by descending count, into ``KINDS[kind]`` groups; ties in order of id (lower first).

    ``quintiles``, ``quartiles``: sizes differ by at most one. ``equal_mass``: five groups with as near as possible the
    same sum of counts, none of them empty. Labels run from ``Q1-head`` (highest counts) to ``Q5-tail``.
    """
    n, groups = len(counts), KINDS[kind]
    order = np.argsort(-counts, kind="stable")
    if kind == "equal_mass":
        placed = _equal_mass(counts[order], groups)
    else:
        placed = np.arange(n, dtype=np.int64) * groups // max(n, 1)
    group = np.empty(n, np.int64)
    group[order] = placed
    labels = [f"Q{g + 1}" for g in range(groups)]
    labels[0] += "-head"
    labels[-1] += "-tail"
    return GroupTable(name, entity, tuple(labels), np.arange(n, dtype=np.int64), group)


def _equal_mass(descending: Index, groups: int) -> Index:
    """Group of each position: cut where the running sum is nearest to g/G of the total, at least one member each."""
    n = len(descending)
    running = np.concatenate([[0], np.cumsum(descending)]).astype(np.float64)
    targets = running[-1] * np.arange(1, groups) / groups
    after = np.clip(np.searchsorted(running, targets), 1, n)
    cuts = after - (targets - running[after - 1] < running[after] - targets)
    steps = np.arange(1, groups)
    cuts = np.maximum.accumulate(np.maximum(cuts, steps) - steps) + steps  # descending counts never cut too late
    return np.searchsorted(cuts, np.arange(n), side="right").astype(np.int64)
