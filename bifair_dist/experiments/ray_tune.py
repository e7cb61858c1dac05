"""A search on Ray Tune: every trial is the real training, in a process of its own, and hands on every validation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bifair_dist.compat import restored_tune_config
from bifair_dist.errors import UserError
from bifair_dist.experiments.draw import METRIC, at_once, param_space, scheduler, searcher
from bifair_dist.experiments.selection import Rule
from bifair_dist.experiments.settings import SweepSettings
from bifair_dist.experiments.space import Space
from bifair_dist.experiments.trial import Figures, Trial, leave_reason
from bifair_dist.runs import Run, Summary, best_so_far
from bifair_dist.settings import flatten, load, override
from bifair_dist.training.phases import phases_of
from bifair_dist.training.settings import TrainSettings

DRIVER_CPUS = 0.01
"""What Ray sets aside for a trial's own process, which waits for its workers."""


def search_on_ray(
    base: TrainSettings, space: Space, sweep: SweepSettings, folder: Path, rule: Rule, parent: str
) -> list[Trial]:
    """Run the search in `folder`, or the rest of it. `parent`: the MLflow run that trials' runs are put below."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with verbose=0: silence; `Lines` speaks instead
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # it ends a sweep as if it were complete
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3")  # seconds; what it forgets is trained again
    import ray
    from ray import tune
    from ray.tune import RunConfig, TuneConfig, Tuner

    from bifair_dist.experiments.lines import Lines

    search = sweep.search or space.search
    function = partial(run_trial, base=base, rule=rule, trials=str(folder / "trials"), parent=parent)
    trainable = tune.with_resources(function, {"CPU": DRIVER_CPUS})
    fit = at_once(base, sweep.concurrent, DRIVER_CPUS, ray.cluster_resources())
    budget = 60 * sweep.minutes or None
    state = folder / "ray_tune"
    if Tuner.can_restore(str(state)):
        print("going on with the sweep that is there", flush=True)
        tuner = Tuner.restore(str(state), trainable=trainable, resume_unfinished=True)
        kept = restored_tune_config(tuner)  # the cluster may have changed since: what is kept there is of another day
        kept.max_concurrent_trials, kept.time_budget_s = fit, budget
    else:
        total = len(space.grid()) * len(space.seeds) if search == "grid" else sweep.trials or space.trials
        validations = sum(-(-phase.epochs // phase.eval_every) for phase in phases_of(base))
        tuner = Tuner(
            trainable,
            param_space=param_space(space, search),
            tune_config=TuneConfig(
                search_alg=searcher(search, sweep.seed),
                scheduler=scheduler(sweep, search, validations),
                num_samples=1 if search == "grid" else total,
                max_concurrent_trials=fit,
                time_budget_s=budget,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(name=state.name, storage_path=str(folder), verbose=0, callbacks=[Lines(total)]),
        )
    grid = tuner.fit()
    return [_trial(base, folder / "trials", list(space.domains), grid[i]) for i in range(len(grid))]


def settings_of(base: TrainSettings, config: dict[str, Any], output: Path, name: str) -> TrainSettings:
    """A trial's settings; `config` has `seed` beside dotted settings."""
    changes = {k: v for k, v in config.items() if k != "seed"}
    place = {"training.output": str(output), "training.run_name": name, "training.seed": config.get("seed", 0)}
    return override(base, {**changes, **place}, "the search space")


def reported(rule: Rule, valid: Summary) -> dict[str, float]:
    """What is reported to Ray Tune of a state."""
    figures = Figures.of(valid, rule.group)
    return {METRIC: rule.score(valid), "recall": figures.recall, "cv": figures.cv}


def run_trial(config: dict[str, Any], base: TrainSettings, rule: Rule, trials: str, parent: str = "") -> None:
    """Ray Tune's function: train; tell J of the best state so far at every validation, at the end of the one kept.

    A `UserError`, such as a loss that is not finite, is left in the trial's run folder with its reason and ends the
    trial only.
    """
    from ray import tune
    from ray.tune.integration.ray_train import TuneReportCallback

    from bifair_dist.tracking import open_child
    from bifair_dist.training.launch import train
    from bifair_dist.training.run_folder import open_run_folder

    class Report(TuneReportCallback):
        """Adds what the trial is judged by."""

        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            valid = best_so_far(Run(run_folder).history).valid
            super().after_report(run_context, [{**metrics[0], **reported(rule, valid)}], checkpoint)

    name = tune.get_context().get_trial_id()
    settings = settings_of(base, config, Path(trials), name)
    trial = Trial(settings, config)
    if trial.reason:  # Ray Tune's state may be some seconds older than the trial's end: it would come again
        raise UserError(trial.reason)
    try:
        run_folder, _ = open_run_folder(settings)
        open_child(settings.tracking, run_folder, parent, name)
        train(settings, callbacks=[Report()], table=False)
    except UserError as error:
        leave_reason(Path(trials) / name, str(error))
        raise
    tune.report({**reported(rule, Run(run_folder).metrics.valid), "kept": True})


def _trial(base: TrainSettings, trials: Path, keys: Sequence[str], result: Any) -> Trial:
    """The trial of a result of Ray Tune, which forgets the point where a trial failed before a cut."""
    name = Path(result.path).name
    run, error = Run(trials / name), str(result.error or "").strip().splitlines()
    if run.exists:
        settings = load(TrainSettings(), run.config_file)
    else:
        settings = settings_of(base, dict(result.config or {}), trials, name)
    values = flatten(settings)
    return Trial(settings, {key: values[key] for key in keys}, error=error[-1][:300] if error else "")
