"""One trial: the real training, in the trial's own process, handing every validation on to Ray Tune."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError
from bifair_dist.experiments.objective import Baseline, objective
from bifair_dist.experiments.settings import TuneSettings
from bifair_dist.runs import Run, Summary, best_so_far
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

METRIC = "objective"
FAILED = "failed.json"


def training_of(settings: TuneSettings) -> TrainSettings:
    """The training part of a sweep's settings."""
    return TrainSettings(**{f.name: getattr(settings, f.name) for f in fields(TrainSettings)})


def settings_of(base: TrainSettings, config: dict[str, Any], output: Path, name: str) -> TrainSettings:
    """A trial's settings; `config` has `seed` beside dotted settings."""
    changes = {k: v for k, v in config.items() if k != "seed"}
    place = {"training.output": str(output), "training.run_name": name, "training.seed": config.get("seed", 0)}
    return override(base, {**changes, **place}, "the search space")


def figures(found: Summary, settings: TrainSettings) -> tuple[float, float, float]:
    """(recall, CV, MIN) of the balanced group table."""
    table = found.groups[settings.balance.group]
    cv, minimum = (float("nan") if v is None else v for v in (table.cv, table.minimum))
    return found.recall, cv, minimum


def run_trial(
    config: dict[str, Any], base: TrainSettings, baseline: Baseline, share: float, trials: str, parent: str = ""
) -> None:
    """Ray Tune's function: train, report J (objective.py) of its best state so far at every validation.

    A `UserError`, such as a loss that is not finite, is left in the trial's run folder with its reason and ends the
    trial only. `parent` is the sweep's MLflow run.
    """
    from ray import tune
    from ray.tune.integration.ray_train import TuneReportCallback

    from bifair_dist.tracking import open_child
    from bifair_dist.training.launch import train
    from bifair_dist.training.run_folder import open_run_folder

    class Report(TuneReportCallback):
        """Adds J, recall and CV of the best state so far, by which the trial is judged in the end, too."""

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            record = dict(metrics[0])
            record["recall"], record["cv"], _ = figures(best_so_far(Run(run_folder).history).valid, settings)
            record[METRIC] = objective(record["recall"], record["cv"], baseline, share)
            super().after_report(run_context, [record], checkpoint)

    name = tune.get_context().get_trial_id()
    settings = settings_of(base, config, Path(trials), name)
    failed = Path(trials) / name / FAILED
    if failed.is_file():  # Ray Tune's state may be some seconds older than the trial's end: it would come again
        raise UserError(json.loads(failed.read_text(encoding="utf-8"))["reason"])
    try:
        run_folder, _ = open_run_folder(settings)
        open_child(settings.tracking, run_folder, parent, name)
        train(settings, callbacks=[Report()], table=False)
    except UserError as error:
        folder = Path(trials) / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILED).write_text(json.dumps({"reason": str(error)}) + "\n", encoding="utf-8")
        raise
