"""Accuracy, group utilities and exposure from ranked lists that are spread over ranks.

Everything is a sum or a count over users (float64), reduced once; means are formed after that. So the numbers do not
depend on how users are spread, and the bootstrap (`bootstrap.py`) is the same summary of re-weighted sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.evaluation.average_popularity import average_popularity
from bifair_dist.evaluation.exposure_ratio import exposure_ratio
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.inequality import coefficient_of_variation, gini, lowest_quarter, max_min_fairness
from bifair_dist.evaluation.long_tail import long_tail, tail_coverage
from bifair_dist.evaluation.per_user import GroupValues, PerUser, per_user
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs.summary import GroupFigures, Summary

ACCURACY = ("recall", "ndcg", "hit_ratio")


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """One group table: utilities [..., G] (nan: no test positive there), CV and MIN [...], for recall and NDCG."""

    utility: Tensor
    cv: Tensor
    minimum: Tensor
    ndcg_utility: Tensor
    ndcg_cv: Tensor
    ndcg_minimum: Tensor


@dataclass(frozen=True, slots=True)
class GroupExposure:
    """Exposure of item groups: share of filled list places [G] (sums to more than 1 for multi-label tables), MMF, and
    the ratio to their shares of training pairs [G] (`exposure_ratio.py`), None where these were not given."""

    share: Tensor
    mmf: float
    ratio: Tensor | None


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Metrics over all ranks, the same on every rank. `per_user` holds this rank's users, for the bootstrap."""

    k: int
    users: int
    accuracy: dict[str, float]
    tables: tuple[GroupMembership, ...]
    summaries: tuple[GroupSummary, ...]
    exposures: tuple[GroupExposure | None, ...]
    gini: float
    coverage: float
    average_popularity: float
    tail_coverage: float
    per_user: PerUser

    def to_summary(self) -> Summary:
        """The figures as a run folder keeps them: plain numbers, None where a value is not defined."""
        groups = {}
        for table, summary, exposure in zip(self.tables, self.summaries, self.exposures, strict=True):
            groups[table.name] = GroupFigures(
                cv=_number(summary.cv),
                minimum=_number(summary.minimum),
                utility=_by_label(table, summary.utility),
                ndcg_cv=_number(summary.ndcg_cv),
                ndcg_minimum=_number(summary.ndcg_minimum),
                ndcg_utility=_by_label(table, summary.ndcg_utility),
                empty=tuple(table.labels[g] for g in summary.utility.isnan().nonzero()[:, 0].tolist()),
                exposure=None if exposure is None else _by_label(table, exposure.share),
                mmf=None if exposure is None else _number(exposure.mmf),
                exposure_ratio=None if exposure is None or exposure.ratio is None else _by_label(table, exposure.ratio),
            )
        accuracy = {f"{name}@{self.k}": _number(value) for name, value in self.accuracy.items()}
        shown = _number(self.gini), self.coverage, _number(self.average_popularity), _number(self.tail_coverage)
        return Summary(accuracy, groups, self.users, *shown)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON."""
        return self.to_summary().to_json()


def evaluate(
    ranked: Tensor,
    users: Tensor,
    test: Csr,
    groups: Sequence[GroupMembership],
    *,
    n_items: int,
    comm: Comm,
    k: int | None = None,
    popularity: Tensor | None = None,
) -> EvaluationResult:
    """All metrics of the lists that `full_ranking` returned on this rank.

    Args:
        ranked: int64[U_r, K'], -1 where a list ends early.
        users: int64[U_r], whose lists these are. Each user is on one rank only.
        test: test positives of all users.
        groups: group tables; the same on every rank.
        n_items: items of the whole catalogue.
        comm: the ranks.
        k: cut-off K <= K'; the whole list if left out.
        popularity: training pairs by item int64[N], the same on every rank; without it, what compares exposure with
            them is not defined.
    """
    k = ranked.shape[1] if k is None else k
    ranked = ranked[:, :k]
    contributions = per_user(ranked, users, test.to(ranked.device), groups, n_items=n_items)
    sizes = tuple(len(table.labels) for table in groups)
    totals = comm.all_reduce_sum(user_columns(contributions, sizes, 0, len(users)).sum(0), "metrics").cpu()
    accuracy, summaries = summarise(totals, sizes)

    places = torch.bincount(ranked[ranked >= 0], minlength=n_items).to(torch.float64)
    exposure = comm.all_reduce_sum(places, "metrics").cpu()
    taken = None if popularity is None else popularity.cpu()
    return EvaluationResult(
        k=k,
        users=int(totals[0]),
        accuracy={name: float(value) for name, value in accuracy.items()},
        tables=tuple(groups),
        summaries=summaries,
        exposures=tuple(_exposure(table, exposure, taken) if table.entity == "item" else None for table in groups),
        gini=gini(exposure),
        coverage=float((exposure > 0).sum()) / n_items,
        average_popularity=math.nan if taken is None else average_popularity(exposure, taken),
        tail_coverage=math.nan if taken is None else tail_coverage(exposure, long_tail(taken)),
        per_user=contributions,
    )


def user_columns(contributions: PerUser, sizes: Sequence[int], start: int, stop: int) -> Tensor:
    """Users [start, stop) of this rank as rows of sums and counts, float64[stop - start, 4 + 3 sum(sizes)].

    Columns: counted, recall, ndcg, hit ratio; then per group table of G groups: recall G, ndcg G, counts G.
    """
    part = slice(start, stop)
    columns = [contributions.counted, contributions.recall, contributions.ndcg, contributions.hit_ratio]
    blocks = [torch.stack([c[part] for c in columns], dim=1)]
    for values, n_groups in zip(contributions.groups, sizes, strict=True):
        blocks.append(_group_columns(values, n_groups, start, stop))
    return torch.cat(blocks, dim=1)


def summarise(totals: Tensor, sizes: Sequence[int]) -> tuple[dict[str, Tensor], tuple[GroupSummary, ...]]:
    """Means, utilities, CV and MIN from summed `user_columns` [..., columns]; leading axes (replicates) stay."""
    count = totals[..., 0]
    accuracy = {name: totals[..., 1 + i] / count for i, name in enumerate(ACCURACY)}
    summaries = []
    at = 1 + len(ACCURACY)
    for n_groups in sizes:
        recall, ndcg, members = totals[..., at : at + 3 * n_groups].split(n_groups, dim=-1)
        utility, ndcg_utility = recall / members, ndcg / members  # 0 / 0 is the nan that is wanted
        summaries.append(
            GroupSummary(
                utility,
                coefficient_of_variation(utility),
                lowest_quarter(utility),
                ndcg_utility,
                coefficient_of_variation(ndcg_utility),
                lowest_quarter(ndcg_utility),
            )
        )
        at += 3 * n_groups
    return accuracy, tuple(summaries)


def _group_columns(values: GroupValues, n_groups: int, start: int, stop: int) -> Tensor:
    low, high = torch.searchsorted(values.row, torch.tensor([start, stop], device=values.row.device)).tolist()
    out = torch.zeros(stop - start, 3 * n_groups, dtype=torch.float64, device=values.row.device)
    row, group = values.row[low:high] - start, values.group[low:high]
    out[row, group] = values.recall[low:high]
    out[row, n_groups + group] = values.ndcg[low:high]
    out[row, 2 * n_groups + group] = 1.0
    return out


def _exposure(table: GroupMembership, exposure: Tensor, taken: Tensor | None) -> GroupExposure:
    share = _share(table, exposure)
    mmf = max_min_fairness(share, table.sizes().cpu().to(torch.float64) / len(exposure))
    return GroupExposure(share, mmf, None if taken is None else exposure_ratio(share, _share(table, taken)))


def _share(table: GroupMembership, counts: Tensor) -> Tensor:
    """Each group's share of counts by item [N]: float64[G]."""
    group, item = table.group_index.cpu(), table.entity_index.cpu()
    by_group = torch.zeros(len(table.labels), dtype=torch.float64).index_add_(0, group, counts[item].double())
    return by_group / counts.sum()


def _number(value: Tensor | float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def _by_label(table: GroupMembership, values: Tensor) -> dict[str, float | None]:
    return {label: _number(v) for label, v in zip(table.labels, values.tolist(), strict=True)}
