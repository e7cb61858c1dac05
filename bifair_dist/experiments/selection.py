"""The rule by which trials and points are judged, the same one by which each training keeps its state."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.trial import Figures, Point, Trial
from bifair_dist.runs import GroupFigures, Summary
from bifair_dist.training.selection import score
from bifair_dist.training.settings import TrainSettings


@dataclass(slots=True)
class Result:
    """A trial's line: validation figures of the state that it kept or would keep, and J (`Rule.score`).

    `valid` None: nothing was validated. `front`: no other is better in recall and CV; `front_min`: in recall and MIN.
    """

    name: str
    point: Point
    seed: int
    status: str
    objective: float
    figures: Figures
    valid: Summary | None
    reason: str = ""
    validations: int = 0
    front: bool = False
    front_min: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """`settings`: whose metric, balanced table and accuracy budget count; `base`: validation of what is to be kept up
    with, None on a plain loss, where accuracy alone counts (training/selection.py); `group`: the table that is shown.
    """

    settings: TrainSettings
    base: Summary | None
    group: str

    def score(self, found: Summary) -> float:
        """J, the less the better."""
        return score(self.settings, found, self.base)

    def result(self, trial: Trial) -> Result:
        """The trial's line as it stands; J is infinite for one that failed or has not validated yet."""
        valid, nan = trial.valid, math.nan
        judged = valid is not None and trial.status != "failed"
        return Result(
            name=trial.folder.name,
            point=trial.point,
            seed=trial.seed,
            status=trial.status,
            reason=trial.reason,
            validations=len(trial.run.history),
            objective=self.score(valid) if judged and valid else math.inf,
            figures=Figures.of(valid, self.group) if valid else Figures(nan, nan, nan, nan),
            valid=valid,
        )

    def best(self, results: Sequence[Result], seeds: int = 1) -> Result | None:
        """Least J among finished trials, the first of equals; over several seeds the least J of a point's means.

        Then the figures are these means, and name and seed those of the point's first trial. A mean of the seeds' own J
        would let one seed that falls short of the accuracy by a hair outweigh all of the others' fairness.
        """
        points: dict[str, list[Result]] = {}
        for result in results:
            if result.status == "finished" and math.isfinite(result.objective):
                points.setdefault(json.dumps(result.point, sort_keys=True, default=str), []).append(result)
        means = []
        for those in [those for those in points.values() if len(those) == seeds] or points.values():
            valid = mean([r.valid for r in those if r.valid is not None])
            figures = Figures.of(valid, self.group)
            means.append(replace(those[0], valid=valid, figures=figures, objective=self.score(valid)))
        return min(means, key=lambda result: result.objective, default=None)

    def explained(self, what: str) -> str:
        """What J is, for a person."""
        if self.base is None:
            return f"J is {self.settings.training.metric} with a minus: on the plain loss accuracy alone counts."
        keep = f"{100 * (1 - self.settings.balance.accuracy_budget):g} %"
        return (
            f"J is the CV of {self.settings.balance.group} as a share of {what}'s, where recall and NDCG keep {keep} "
            f"of {what}'s; where they do not, that share or 1, whichever is more, plus what is missing. The less the "
            f"better; J of {what} is 1. Each trial keeps its own state by the same rule."
        )


def mean(found: Sequence[Summary]) -> Summary:
    """Means of accuracy, CV and MIN; None where one of them is not defined."""

    def over(values: Sequence[float | None]) -> float | None:
        numbers = [v for v in values if v is not None]
        return fmean(numbers) if len(numbers) == len(values) else None

    accuracy = {name: over([s.accuracy[name] for s in found]) for name in found[0].accuracy}
    groups = {}
    for name in found[0].groups:
        tables = [s.groups[name] for s in found]
        groups[name] = GroupFigures(cv=over([t.cv for t in tables]), minimum=over([t.minimum for t in tables]))
    return Summary(accuracy, groups)


def mark_front(results: Sequence[Result]) -> None:
    """Set `front`, by validation recall (more is better) and CV (less), and `front_min`, by recall and MIN (more)."""
    there = [r for r in results if r.status != "failed" and math.isfinite(r.figures.cv)]
    by_cv = pareto_front([(-r.figures.recall, r.figures.cv) for r in there])
    by_min = pareto_front([(-r.figures.recall, -r.figures.minimum) for r in there])
    for result, cv, minimum in zip(there, by_cv, by_min, strict=True):
        result.front, result.front_min = cv, minimum
