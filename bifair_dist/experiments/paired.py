"""Whether a method differs from the reference: paired bootstrap over users (evaluation/bootstrap.py) and over seeds.

In each replicate users get random weights, and as many seeds are drawn with replacement as there are; the figures of a
method are averaged over these, and so are the reference's, under the same weights and the same seeds. The relative
change is taken between the two means. With users alone the interval would speak of the runs at hand, and one odd seed
could pass for a difference of methods; with one seed there is nothing else. From a few seeds it is still too short.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bifair_dist.data.dataset import Dataset
from bifair_dist.evaluation.bootstrap import replicated_figures
from bifair_dist.evaluation.metrics import evaluate
from bifair_dist.parallel.comm import Comm
from bifair_dist.report.evaluated import lists_of, memberships, wanted_pairs
from bifair_dist.report.lists import read_lists

LEVEL = 0.95
Replicates = dict[str, Tensor]
"""recall, ndcg, cv, minimum: float64 [replicates]."""


def mean_replicates(runs: Sequence[Path], dataset: Dataset, group: str, k: int, replicates: int) -> Replicates:
    """Test figures in each replicate, averaged over the runs drawn for it: the same draw for every method.

    `runs`: one for each seed, in the order of seeds.
    """
    wanted = wanted_pairs(dataset, "test")
    asked = torch.nonzero(wanted.counts() > 0).squeeze(1)
    groups = [m for m in memberships(dataset) if m.name == group]
    share = seed_shares(len(runs), replicates)
    sums: Replicates = {}
    for number, run in enumerate(runs):
        lists = lists_of(asked, *read_lists(run / "recommendations.parquet", dataset, k))
        result = evaluate(lists, asked, wanted, groups, n_items=dataset.n_items, comm=Comm(), k=k)
        figures = replicated_figures(result, Comm(), seed=0, replicates=replicates)
        table = figures["groups"][group]
        one = {
            "recall": figures[f"recall@{k}"],
            "ndcg": figures[f"ndcg@{k}"],
            "cv": table["cv"],
            "minimum": table["min"],
        }
        sums = {key: share[number] * value + sums.get(key, 0.0) for key, value in one.items()}
    return sums


def seed_shares(seeds: int, replicates: int) -> Tensor:
    """How often each seed is drawn in each replicate, as shares whose sum is 1: float64 [seeds, replicates]."""
    drawn = torch.randint(seeds, (seeds, replicates), generator=torch.Generator().manual_seed(1))
    return torch.stack([(drawn == seed).double().mean(0) for seed in range(seeds)])


def change_interval(change: Tensor) -> tuple[float, float]:
    """Ends of the interval of a relative change, from its replicates; nan where it is not defined."""
    change = change[change.isfinite()]
    if not len(change):
        return float("nan"), float("nan")
    tail = (1.0 - LEVEL) / 2.0
    low, high = torch.quantile(change, torch.tensor([tail, 1.0 - tail], dtype=change.dtype)).tolist()
    return low, high
