"""The one rule by which a state, a trial or a point is chosen: the fairest of those that keep their accuracy.

With the base's figures R0, N0 (recall, NDCG) and C0_t (CV of the balanced table t), and the budget b,

    feasible    R >= (1 - b) R0  and  N >= (1 - b) N0
    U         = max_t C_t / C0_t                  unfairness; the base's own is 1
    J         = U                                 where feasible
    J         = max(U, 1) + max(1 - b - R/R0, 1 - b - N/N0)    elsewhere

Chosen is the least J below 1, so never an infeasible candidate; without one the base stays. Beyond the bound J grows
with what is lost, so that a searcher that minimises J is led back to feasible candidates. Of several balanced tables
the one that gained least counts: what is chosen is fairer in each of them, and none pays for another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Recall and NDCG at one k, and the CV of each balanced group table, always in the same order; all of one split.

    nan stands for a figure that is not defined.
    """

    recall: float
    ndcg: float
    cvs: tuple[float, ...]


def choose(base: Figures, candidates: Sequence[Figures], budget: float) -> int | None:
    """Index of the fairest candidate that keeps a share 1 - budget of the base's recall and NDCG.

    None: keep the base, because no feasible candidate is fairer than it. Of equals the one with more recall, then the
    first.
    """
    scores = [objective(base, candidate, budget) for candidate in candidates]
    below = [i for i, score in enumerate(scores) if score < 1]
    return min(below, key=lambda i: (scores[i], -candidates[i].recall), default=None)


def objective(base: Figures, candidate: Figures, budget: float) -> float:
    """J, the less the better. Infinite where a figure of the candidate is not finite or nothing can be compared."""
    unfair, short = unfairness(base, candidate), shortfall(base, candidate, budget)
    if not all(map(math.isfinite, (candidate.recall, candidate.ndcg, unfair, short))):
        return math.inf
    return unfair if feasible(base, candidate, budget) else max(unfair, 1.0) + max(short, 0.0)


def feasible(base: Figures, candidate: Figures, budget: float) -> bool:
    """Whether the candidate keeps a share 1 - budget of the base's recall and of its NDCG; False where one is nan."""
    keep = 1 - budget
    return candidate.recall >= keep * base.recall and candidate.ndcg >= keep * base.ndcg


def shortfall(base: Figures, candidate: Figures, budget: float) -> float:
    """By how much the worse of recall and NDCG falls below its bound, as a share of the base's; below 0 if it keeps."""
    kept = [_ratio(candidate.recall, base.recall), _ratio(candidate.ndcg, base.ndcg)]
    return math.nan if any(map(math.isnan, kept)) else 1 - budget - min(kept)


def unfairness(base: Figures, candidate: Figures) -> float:
    """U: the largest C/C0 of the tables whose CV is defined for the base; nan without one, or where a C is nan."""
    ratios = [_ratio(c, c0) for c, c0 in zip(candidate.cvs, base.cvs, strict=True) if math.isfinite(c0)]
    return math.nan if not ratios or any(map(math.isnan, ratios)) else max(ratios)


def _ratio(value: float, base: float) -> float:
    """value / base; two zeros are equal."""
    if base == 0:
        return 1.0 if value == 0 else math.nan if math.isnan(value) else math.inf
    return value / base
