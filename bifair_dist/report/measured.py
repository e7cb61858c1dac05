"""A run's test figures with bootstrap intervals over users: after, before, and the change from one to the other.

Before and after are measured on the same users with the same bootstrap weights, so the interval of a change is that of
a paired comparison: narrower than two intervals side by side suggest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from bifair_dist.data.dataset import Dataset
from bifair_dist.evaluation.bootstrap import percentile_intervals, replicated_figures
from bifair_dist.evaluation.metrics import EvaluationResult, evaluate
from bifair_dist.parallel.comm import Comm
from bifair_dist.report.evaluated import lists_of, memberships, wanted_pairs
from bifair_dist.report.lists import index_lists, read_lists
from bifair_dist.runs import Run, Summary

LEVEL = 0.95
MOST_USERS = 100_000
"""Users whose lists are read: of more, intervals are narrow, and the lists would not fit a small machine."""

BATCH = 1 << 20
"""Rows of a file of lists that are held at a time where only some users are looked at."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Lists of the users looked at, and the intervals.

    users int64 [U], ascending; after and before int64 [U, k], -1 where a list ends early, `before` None without one.
    intervals: `level`, `replicates`, `users`; `after`, `before` and `change` (relative, 0.1 is 10 % more), each a tree
    as `bootstrap_intervals` gives or None. counts: by group table and label, users who count there. figures: the
    metrics of `after` over the users looked at.
    """

    users: Tensor
    after: Tensor
    before: Tensor | None
    intervals: dict[str, Any]
    counts: dict[str, dict[str, int]]
    figures: Summary


def measure(run: Run, dataset: Dataset, k: int, *, seed: int, replicates: int) -> Measured:
    """Measure the lists in a run folder again. Raises `UserError` where they are not of this dataset."""
    wanted = wanted_pairs(dataset, "test")
    asked = torch.nonzero(wanted.counts() > 0).squeeze(1)
    step = -(-len(asked) // MOST_USERS)
    looked, sampled = asked[::step].contiguous(), step > 1
    groups = memberships(dataset)

    def result_of(path: Path) -> tuple[Tensor, EvaluationResult, dict[str, Any]]:
        lists = lists_of(looked, *_read(path, dataset, k, looked if sampled else None))
        result = evaluate(lists, looked, wanted, groups, n_items=dataset.n_items, comm=Comm(), k=k)
        return lists, result, replicated_figures(result, Comm(), seed=seed, replicates=replicates)

    after, result, figures = result_of(run.recommendations)
    before, old, change = None, None, None
    if run.recommendations_before.is_file():
        before, _, old = result_of(run.recommendations_before)
        change = _relative(figures, old)
    trees = {"after": figures, "before": old, "change": change}
    intervals = {name: tree and percentile_intervals(tree, LEVEL) for name, tree in trees.items()}
    counts = {
        table.name: dict(zip(table.labels, _members(values.group, len(table.labels)), strict=True))
        for table, values in zip(result.tables, result.per_user.groups, strict=True)
    }
    about = {"level": LEVEL, "replicates": replicates, "users": len(looked), "of_users": len(asked)}
    return Measured(looked, after, before, {**about, **intervals}, counts, result.to_summary())


def _read(path: Path, dataset: Dataset, k: int, only: Tensor | None) -> tuple[Tensor, Tensor]:
    """Users and their lists; where `only` names the users, a part of the file at a time."""
    if only is None:
        return read_lists(path, dataset, k)
    ids = pa.array(dataset.user_ids[only.numpy()], pa.string())
    batches = pq.ParquetFile(path).iter_batches(batch_size=BATCH)
    parts = [batch.filter(pc.is_in(batch["user_id"].cast(pa.string()), value_set=ids)) for batch in batches]
    return index_lists(pa.Table.from_batches(parts), dataset, k, path)


def _relative(after: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """after / before - 1 in every replicate; nan where `before` is 0."""
    out: dict[str, Any] = {}
    for key, value in after.items():
        base = before[key]
        if isinstance(value, dict):
            out[key] = _relative(value, base)
        else:
            out[key] = torch.where(base > 0, value / base - 1.0, torch.nan)
    return out


def _members(group: Tensor, n_groups: int) -> list[int]:
    return [int(n) for n in torch.bincount(group, minlength=n_groups)]
