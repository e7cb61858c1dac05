"""Trials whose figures are made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bifair_dist.experiments.selection import Rule
from bifair_dist.experiments.trial import Trial
from bifair_dist.runs import Run, Summary, Validation
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings


def summary(recall: float, cv: float, ndcg: float | None = None) -> Summary:
    """Of one table, `genre`; NDCG is the recall unless given."""
    found = {"recall@20": recall, "ndcg@20": recall if ndcg is None else ndcg}
    return Summary.from_json({**found, "groups": {"genre": {"cv": cv, "min": 0.1}}})


BASE = summary(0.5, 0.4)
RULE = Rule(TrainSettings(), BASE, "genre")  # 99 % of recall and NDCG
PLAIN = Rule(TrainSettings(), None, "genre")


def made(folder: Path, name: str, found: Summary, seed: int = 0, method: str = "m", **point: Any) -> Trial:
    """A finished trial that kept a state with these figures, on test as on validation; one epoch of at most four."""
    place = {"training.output": str(folder), "training.run_name": name, "training.seed": seed}
    trial = Trial(override(TrainSettings(), place), point, "d", "genre", method)
    trial.folder.mkdir(exist_ok=True)
    (trial.folder / "config.yaml").write_text("{}")
    (trial.folder / "metrics.json").write_text(json.dumps({"valid": found.to_json(), "test": found.to_json()}))
    last = Validation("bilevel", 1, 1, 1.0, True, found, epochs=4, seconds_per_epoch=1.0)
    Run(trial.folder).append_validation(last)
    return trial
