"""Every trade-off from one training: the states between AlphaRec's and the fair one, and the choice among them.

    theta(a) = theta_0 + a (theta - theta_0),    Z(a) = Z_0 + a (Z - Z_0),    a = 0, .1 .. 1

The fair phases start from AlphaRec's state (theta_0, Z_0), so both ends lie in one basin and what lies between is a
good model too (model soups, arXiv 2203.05482; WiSE-FT, arXiv 2109.01903). The fairest state within the accuracy budget
is kept (evaluation/choice.py); a = 0 is AlphaRec itself. Row by row, so every worker interpolates its own rows of Z.

Selection noise counts: a point is judged by what its paired difference from a = 0 keeps after one standard error over
users, in the wrong direction for it. The error shrinks with a, so a cautious small step beats a lucky large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bifair_dist.evaluation.bootstrap import replicated_figures
from bifair_dist.evaluation.choice import Figures, choose, feasible, unfairness
from bifair_dist.evaluation.metrics import EvaluationResult
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.tables import Tables
from bifair_dist.runs import Summary

STEPS = tuple(i / 10 for i in range(11))
REPLICATES = 200
"""Of the bootstrap: a standard error from 200 is itself uncertain by 5 %."""
CAUTION = 1.0
"""Standard errors taken off a point's advantage."""
WATCHED = 0.1
"""Share by which the CV of a table that is not balanced may rise: one table's fairness is not paid by another's."""


@dataclass(frozen=True, slots=True)
class Point:
    """A state's validation: as measured, and `cautious`, each figure moved by its standard error against the point."""

    interpolation: float
    valid: Summary
    measured: Figures
    cautious: Figures

    def record(self, base: Figures, budget: float) -> dict[str, Any]:
        """A line of `front.json`."""
        c = self.cautious
        return {
            "interpolation": self.interpolation,
            "unfairness": unfairness(base, self.measured),
            "within_budget": feasible(base, self.cautious, budget),
            "cautious": {"recall": c.recall, "ndcg": c.ndcg, "cv": [None if math.isnan(v) else v for v in c.cvs]},
            "valid": self.valid.to_json(),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any], tables: Sequence[str]) -> Point:
        """From a line of `front.json`. Raises `KeyError` for one of an earlier version, without `cautious`."""
        c, valid = record["cautious"], Summary.from_json(record["valid"])
        cautious = Figures(c["recall"], c["ndcg"], tuple(map(_number, c["cv"])))
        return cls(record["interpolation"], valid, figures(valid, tables), cautious)


def between(
    start: tuple[Theta, Tensor], end: tuple[Theta, Tensor], a: float, tables: Tables | None = None
) -> tuple[Theta, Tensor]:
    """(theta(a), Z(a)) of two states with the same rows; the ends themselves at 0 and 1. Z(a) is made by `tables`."""
    if a in (0.0, 1.0):
        return end if a else start
    theta = {name: torch.lerp(start[0][name], t, a) for name, t in end[0].items()}
    if start[1] is end[1]:
        return theta, end[1]
    into = (tables or Tables(end[1].device)).zeros(end[1].shape, end[1].dtype)
    return theta, torch.lerp(start[1].detach(), end[1].detach(), a, out=into)


def figures(summary: Summary, tables: Sequence[str]) -> Figures:
    """What the choice looks at, from an evaluation."""
    cvs = tuple(_number(summary.groups[name].cv) for name in tables)
    return Figures(summary.recall, summary.ndcg, cvs)


def points(
    steps: Sequence[float], results: Sequence[EvaluationResult], tables: Sequence[str], comm: Comm, seed: int
) -> list[Point]:
    """The evaluations at `steps` with their standard errors against the first; the same on every worker."""
    drawn = [_replicated(r, tables, comm, seed) for r in results]
    out = []
    for a, result, sample in zip(steps, results, drawn, strict=True):
        summary = result.to_summary()
        measured = figures(summary, tables)
        error = [float(column[column.isfinite()].std()) for column in (sample - drawn[0]).T]
        out.append(Point(a, summary, measured, _against(measured, error)))
    return out


def chosen(found: Sequence[Point], tables: Sequence[str], budget: float) -> float:
    """The interpolation to keep; 0 where nothing fairer fits the budget and leaves the watched tables alone."""
    kept = [point for point in found if not harmed(found[0].valid, point.valid, tables)]
    index = choose(found[0].measured, [point.cautious for point in kept], budget)
    return 0.0 if index is None else kept[index].interpolation


def harmed(base: Summary, now: Summary, balanced: Sequence[str]) -> list[str]:
    """The watched tables, those that are not balanced, whose CV is more than `WATCHED` above the base's while their
    worst-off group has lost; where every group gains, some more than others, none is harmed."""
    out = []
    for name, before in base.groups.items():
        after = now.groups[name]
        apart = _number(after.cv) > (1 + WATCHED) * _number(before.cv)
        if name not in balanced and apart and _number(after.minimum) < _number(before.minimum):
            out.append(name)
    return out


def _replicated(result: EvaluationResult, tables: Sequence[str], comm: Comm, seed: int) -> Tensor:
    """Recall, NDCG and the tables' CV in every replicate, float64 [replicates, 2 + tables]."""
    found = replicated_figures(result, comm, seed=seed, replicates=REPLICATES)
    accuracy = [found[f"recall@{result.k}"], found[f"ndcg@{result.k}"]]
    return torch.stack([*accuracy, *(found["groups"][name]["cv"] for name in tables)], dim=1)


def _against(measured: Figures, error: Sequence[float]) -> Figures:
    recall, ndcg, *cvs = (CAUTION * e for e in error)
    worse = tuple(cv + e for cv, e in zip(measured.cvs, cvs, strict=True))
    return Figures(measured.recall - recall, measured.ndcg - ndcg, worse)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
