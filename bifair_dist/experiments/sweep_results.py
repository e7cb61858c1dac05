"""What a sweep found: one row for each trial, the Pareto front, the best setting."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bifair_dist.experiments.objective import Baseline, objective
from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.ray_trial import FAILED, figures
from bifair_dist.files import writing
from bifair_dist.runs import Run, best_so_far
from bifair_dist.settings import flatten, load, to_yaml
from bifair_dist.training.settings import TrainSettings

MEASURES = ("recall", "cv", "minimum")


@dataclass(slots=True)
class Trial:
    """A trial's best validation by the run's own rule. `status`: finished, stopped (early) or failed."""

    trial: str
    config: dict[str, Any]
    status: str
    reason: str = ""
    validations: int = 0
    recall: float = math.nan
    cv: float = math.nan
    minimum: float = math.nan
    objective: float = math.inf
    front: bool = False
    front_min: bool = False


def read_trial(
    folder: Path, name: str, config: dict[str, Any], error: str, share: float, baseline: Baseline, keys: Sequence[str]
) -> Trial:
    """From the trial's run folder; what was stopped early has its history. `keys`: the settings searched."""
    run = Run(folder)
    if not config and run.exists:  # Ray Tune forgets it where a trial failed before a cut
        told = flatten(load(TrainSettings(), run.config_file))
        config = {**{key: told[key] for key in keys}, "seed": told["training.seed"]}
    trial = Trial(name, config, "stopped")
    if (folder / FAILED).is_file():
        trial.status, trial.reason = "failed", json.loads((folder / FAILED).read_text())["reason"]
    elif error:
        trial.status, trial.reason = "failed", error.strip().splitlines()[-1][:300]
    elif run.finished:
        trial.status = "finished"
    records = run.history
    trial.validations = len(records)
    if records:
        settings = load(TrainSettings(), run.config_file)
        trial.recall, trial.cv, trial.minimum = figures(best_so_far(records).valid, settings)
        if trial.status != "failed":
            trial.objective = objective(trial.recall, trial.cv, baseline, share)
    return trial


def mark_front(trials: list[Trial]) -> None:
    """Set `front`, by validation recall (more is better) and CV (less), and `front_min`, by recall and MIN (more)."""
    there = [t for t in trials if t.status != "failed" and math.isfinite(t.recall) and math.isfinite(t.cv)]
    by_cv = pareto_front([(-t.recall, t.cv) for t in there])
    by_min = pareto_front([(-t.recall, -t.minimum) for t in there])
    for trial, cv, minimum in zip(there, by_cv, by_min, strict=True):
        trial.front, trial.front_min = cv, minimum


def best_of(trials: list[Trial], seeds: int, baseline: Baseline, share: float) -> Trial | None:
    """Least J among finished trials; over several seeds the least J of a point's mean recall and mean CV.

    Then the figures are these means, and the trial's name and seed those of the point's first. A mean of the seeds' own
    J would let one seed that falls short of the recall by a hair outweigh all of the others' fairness.
    """
    points: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.status == "finished" and math.isfinite(trial.objective):
            points.setdefault(_point(trial), []).append(trial)
    means = []
    for those in [those for those in points.values() if len(those) == seeds] or points.values():
        recall, cv, minimum = (math.fsum(getattr(t, key) for t in those) / len(those) for key in MEASURES)
        j = objective(recall, cv, baseline, share)
        means.append(replace(those[0], recall=recall, cv=cv, minimum=minimum, objective=j))
    return min(means, key=lambda trial: trial.objective, default=None)


def same_point(one: Trial, other: Trial) -> bool:
    """Whether two trials differ in their seed alone."""
    return _point(one) == _point(other)


def write(folder: Path, trials: list[Trial], best: TrainSettings | None) -> None:
    """`trials.parquet`, and `best.yaml`, which `jobs/train.py --config` takes."""
    rows = [{**{k: v for k, v in asdict(t).items() if k != "config"}, **t.config} for t in trials]
    frame = pd.DataFrame(rows)
    with writing(folder / "trials.parquet") as part:
        frame.to_parquet(part, index=False)
    if best is not None:
        (folder / "best.yaml").write_text(to_yaml(best), encoding="utf-8")


def _point(trial: Trial) -> str:
    return json.dumps({k: v for k, v in trial.config.items() if k != "seed"}, sort_keys=True, default=str)
