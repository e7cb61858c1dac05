"""How much of the trials' differences each setting explains: functional ANOVA (Hutter, Hoos & Leyton-Brown, 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bifair_dist.experiments.selection import Result
from bifair_dist.experiments.space import Choice, Space

FEWEST = 8
"""Trials below which the shares would say nothing."""


def importance(trials: Sequence[Result], space: Space) -> dict[str, dict[str, float]]:
    """Shares (summing to 1) by setting, for recall and for CV; empty where there are too few trials or one setting."""
    done = [t for t in trials if t.status != "failed" and math.isfinite(t.figures.cv + t.figures.recall)]
    if len(done) < FEWEST or len(space.domains) < 2:
        return {}
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, BaseDistribution] = {}
    for key, d in space.domains.items():
        if isinstance(d, Choice):
            distributions[key] = CategoricalDistribution(d.values)
        elif d.whole:
            distributions[key] = IntDistribution(int(d.low), int(d.high), log=d.log)
        else:
            distributions[key] = FloatDistribution(d.low, d.high, log=d.log)
    out: dict[str, dict[str, float]] = {}
    for name, value in (("recall", "recall"), ("CV", "cv")):
        study = optuna.create_study()
        for t in done:
            params = {k: t.point[k] for k in distributions}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=getattr(t.figures, value))
            )
        if len({getattr(t.figures, value) for t in done}) < 2:
            continue
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
        out[name] = {k: float(found.get(k, 0.0)) for k in distributions}
    return out
