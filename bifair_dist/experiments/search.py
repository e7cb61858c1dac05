"""A search: points of one method on one dataset, judged by one rule; the best point goes on to further seeds.

A study is a list of searches over fixed points, which `local.py` trains; a sweep is one search whose points Ray Tune
draws from a space (`ray_tune.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bifair_dist.experiments.selection import Result, Rule, mark_front
from bifair_dist.experiments.trial import Trial


@dataclass(slots=True)
class Search:
    """`tried`: a training for each point and each of `seeds`. `chosen`: the best point's trainings that are tested."""

    dataset: str
    group: str
    method: str
    rule: Rule
    tried: list[Trial]
    seeds: int = 1
    chosen: list[Trial] = field(default_factory=list)

    def results(self) -> list[Result]:
        """A line for each training that was begun or failed, the front marked."""
        results = [self.rule.result(trial) for trial in self.tried if trial.run.exists or trial.reason]
        mark_front(results)
        return results

    def best(self, results: Sequence[Result] | None = None) -> Result | None:
        """The best point; None where no training is finished."""
        return self.rule.best(self.results() if results is None else results, self.seeds)
