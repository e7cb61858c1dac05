"""J of a state, a trial or a point, the less the better: what a training keeps and a sweep or study chooses.

fair phases    unfairness where the accuracy budget is kept, more than 1 elsewhere (evaluation/choice.py)
plain loss     J = -`training.metric`
"""

from __future__ import annotations

from bifair_dist.evaluation.choice import objective
from bifair_dist.runs import Summary
from bifair_dist.training.front import figures
from bifair_dist.training.settings import TrainSettings


def score(settings: TrainSettings, found: Summary, base: Summary | None) -> float:
    """J of `found`; infinite where a figure is not finite. Both are validation figures.

    `base`: of the state whose accuracy is to be kept, AlphaRec's; None: a plain loss, on which accuracy alone counts.
    """
    if base is None:
        return -float(found.accuracy[settings.training.metric] or 0.0)
    tables = settings.balance.tables
    return objective(figures(base, tables), figures(found, tables), settings.balance.accuracy_budget)
