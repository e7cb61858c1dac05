"""What the benchmarks of the training step share: data in several shapes, the project's own step on them, a record."""

from __future__ import annotations

from pathlib import Path

import torch

from bifair_dist.benchmark.catalogue import GROUPS, Pairs, synthetic_pairs, unit_rows
from bifair_dist.benchmark.problem import make_problem, make_step, random_rows
from bifair_dist.benchmark.record import ROOT, commit, machine, record

__all__ = [
    "GROUPS",
    "ROOT",
    "Pairs",
    "commit",
    "machine",
    "make_problem",
    "make_step",
    "random_rows",
    "real_pairs",
    "record",
    "synthetic_pairs",
    "unit_rows",
]


def real_pairs(dataset: str | Path, group: str = "genre") -> Pairs:
    """Training pairs of a dataset folder."""
    from bifair_dist.data.dataset import read_dataset  # pyarrow stays out of the memory benchmark

    data = read_dataset(dataset)
    table = data.groups[group]
    index, groups = torch.from_numpy(table.entity_index), torch.from_numpy(table.group_index)
    user, item = torch.from_numpy(data.train.user), torch.from_numpy(data.train.item)
    return Pairs(user, item, data.n_users, data.n_items, index, groups, len(table.labels))
