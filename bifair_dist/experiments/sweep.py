"""A sweep from beginning to end: baseline, trials, results, report. The same command goes on after a cut."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError
from bifair_dist.experiments import sweep_results as results
from bifair_dist.experiments.objective import Baseline
from bifair_dist.experiments.ray_lines import Lines
from bifair_dist.experiments.ray_search import DRIVER_CPUS, at_once, param_space, scheduler, searcher
from bifair_dist.experiments.ray_trial import figures, run_trial, settings_of, training_of
from bifair_dist.experiments.settings import TuneSettings
from bifair_dist.experiments.space import Space, load_space
from bifair_dist.experiments.sweep_page import write_report
from bifair_dist.runs import Run
from bifair_dist.settings import flatten, override
from bifair_dist.tracking import Tracker, close_tracker, open_tracker, tag_run
from bifair_dist.training.identity import identity
from bifair_dist.training.inputs import with_data
from bifair_dist.training.launch import train
from bifair_dist.training.phases import phases_of
from bifair_dist.training.run_folder import MAY_CHANGE
from bifair_dist.training.settings import TrainSettings


def sweep(settings: TuneSettings) -> Path:
    """Run it, or the rest of it; returns the sweep folder. Raises `UserError`."""
    import ray

    from bifair_dist.training.ray_launch import start_ray

    space, tune = load_space(settings.tune.space), settings.tune
    base = with_data(override(training_of(settings), space.fixed, f"tune_spaces: {space.name}"))
    name = tune.name or f"{space.name}-{Path(base.data.dataset).name}"
    folder = Path(tune.output).expanduser().absolute() / name
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder, settings, space)
    print(f"sweep folder: {folder}", flush=True)
    started_here = not ray.is_initialized()
    if started_here:
        start_ray(base, spare_cpus=1)  # for the trials' own processes
    try:
        with open_tracker(settings.tracking, folder) as tracker:
            tracker.params(flatten(settings.tune))
            # All runs of a sweep in one place, that of the sweep's own.
            where = base.tracking.uri or f"sqlite:///{folder.parent / 'mlflow.db'}"
            base = override(base, {"tracking.uri": where})
            _run(base, space, settings, folder, tracker)
    finally:
        if started_here:
            ray.shutdown()
    return folder


def _run(base: TrainSettings, space: Space, settings: TuneSettings, folder: Path, tracker: Tracker) -> None:
    reference = baseline(base, folder.parent / "baselines")
    group = base.balance.group
    print(f"baseline: recall {reference.recall:.4f}, {group} CV {reference.cv:.4f} (validation)", flush=True)
    if space.warm_start:
        base = override(base, {"training.warm_start": reference.folder})
    trials = _search(base, space, settings, folder, reference, tracker.run_id)
    best = results.best_of(trials, len(space.seeds), reference, settings.tune.recall_share)
    chosen = _chosen(base, best) if best else None
    results.write(folder, trials, override(chosen, {"tracking": settings.tracking.model_dump()}) if chosen else None)
    for trial in trials:
        planes = {"pareto": trial.front, "pareto_min": trial.front_min}
        place = {tag: "front" if on else "dominated" for tag, on in planes.items()} | {"status": trial.status}
        is_chosen = best is not None and results.same_point(trial, best)
        tag_run(base.tracking, folder / "trials" / trial.trial, {**place, "chosen": str(is_chosen).lower()})
        if trial.status == "stopped":  # its process ended where it stood
            close_tracker(base.tracking, folder / "trials" / trial.trial, "KILLED")
    confirmed = _confirm(chosen, settings, folder) if chosen else []
    write_report(folder / "report.html", space, trials, reference, best, settings.tune.recall_share, confirmed)
    if best is not None:
        tracker.metrics({"best/recall": best.recall, "best/cv": best.cv, "best/min": best.minimum}, 0)
    for name in ("report.html", "trials.parquet", "best.yaml"):
        if (folder / name).is_file():
            tracker.artifact(folder / name)
    _say(folder, trials, best, len(space.seeds))


def _search(
    base: TrainSettings, space: Space, settings: TuneSettings, folder: Path, baseline: Baseline, parent: str
) -> list[results.Trial]:
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with verbose=0: silence; `Lines` speaks instead
    # A trial that was cut off after its last validation has nothing left to report but its end.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray
    from ray import tune
    from ray.tune import RunConfig, TuneConfig, Tuner

    s = settings.tune
    search = s.search or space.search
    function = partial(
        run_trial, base=base, baseline=baseline, share=s.recall_share, trials=str(folder / "trials"), parent=parent
    )
    trainable = tune.with_resources(function, {"CPU": DRIVER_CPUS})
    state = folder / "ray_tune"
    fit = at_once(base, s.concurrent, ray.cluster_resources())
    budget = 60 * s.minutes or None
    if Tuner.can_restore(str(state)):
        print("going on with the sweep that is there", flush=True)
        tuner = Tuner.restore(str(state), trainable=trainable, resume_unfinished=True)
        # `restore` takes no settings, and the cluster may have changed since: what is kept there is of another day.
        assert tuner._local_tuner is not None  # it is only under Ray Client, which `start_ray` never makes
        kept = tuner._local_tuner._tune_config
        kept.max_concurrent_trials, kept.time_budget_s = fit, budget
    else:
        total = len(space.grid()) * len(space.seeds) if search == "grid" else s.trials or space.trials
        validations = sum(-(-phase.epochs // phase.eval_every) for phase in phases_of(base))
        config = TuneConfig(
            search_alg=searcher(search, s.seed),
            scheduler=scheduler(s, search, validations),
            num_samples=1 if search == "grid" else total,
            max_concurrent_trials=fit,
            time_budget_s=budget,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        )
        tuner = Tuner(
            trainable,
            param_space=param_space(space, search),
            tune_config=config,
            run_config=RunConfig(name="ray_tune", storage_path=str(folder), verbose=0, callbacks=[Lines(total)]),
        )
    grid = tuner.fit()
    trials = []
    for result in (grid[i] for i in range(len(grid))):
        name = Path(result.path).name
        error = str(result.error) if result.error else ""
        trial = results.read_trial(
            folder / "trials" / name,
            name,
            dict(result.config or {}),
            error,
            s.recall_share,
            baseline,
            list(space.domains),
        )
        trials.append(trial)
    results.mark_front(trials)
    return trials


def baseline(base: TrainSettings, place: Path) -> Baseline:
    """AlphaRec with these settings, trained once: its folder is named by what its numbers depend on."""
    plain = {k: v for k, v in flatten(TrainSettings()).items() if k.startswith(("bilevel.", "balance."))}
    plain["training.bilevel_epochs"] = TrainSettings().training.bilevel_epochs
    settings = override(base, {**plain, "training.method": "alpharec", "training.warm_start": ""})
    folder = train(
        override(settings, {"training.output": str(place), "training.run_name": identity(settings)}), table=False
    )
    return Baseline(*figures(Run(folder).metrics.valid, base), folder=str(folder))


def _chosen(base: TrainSettings, best: results.Trial) -> TrainSettings:
    return settings_of(base, best.config, Path("runs"), "")


def _confirm(chosen: TrainSettings, settings: TuneSettings, folder: Path) -> list[dict[str, Any]]:
    """Baseline and best setting with other seeds, on test; each is a run that is trained once."""
    rows = []
    for seed in settings.tune.confirm:
        place = {"training.output": str(folder / "confirm"), "training.seed": seed}
        changes = {"training.method": "alpharec", "training.warm_start": "", "training.run_name": f"alpharec-{seed}"}
        before = train(override(chosen, {**place, **changes}), table=False)
        warm = {"training.warm_start": str(before)} if chosen.training.warm_start else {}
        after = train(override(chosen, {**place, **warm, "training.run_name": f"best-{seed}"}), table=False)
        tests = [Run(f).metrics.test for f in (before, after)]
        rows.append({"seed": seed, "alpharec": figures(tests[0], chosen), "best": figures(tests[1], chosen)})
    return rows


def _check_same(folder: Path, settings: TuneSettings, space: Space) -> None:
    """A sweep goes on with the settings it began with; what changes no number may differ."""
    free = (*MAY_CHANGE, "tune.minutes", "tune.output", "tune.name", "tune.concurrent", "tune.confirm")
    now = {k: v for k, v in flatten(settings).items() if not k.startswith(free)} | {"space": repr(space)}
    path = folder / "sweep.json"
    text = json.dumps(now, indent=2, sort_keys=True, default=str)
    if not path.exists():
        path.write_text(text + "\n", encoding="utf-8")
        return
    then = json.loads(path.read_text(encoding="utf-8"))
    for key, value in json.loads(text).items():
        if then.get(key) != value:
            raise UserError(
                f"{folder}: this sweep began with another {key} ({then.get(key)!r}, not {value!r}); give the same to "
                "go on with it, or another --tune.name"
            )


def _say(folder: Path, trials: list[results.Trial], best: results.Trial | None, seeds: int) -> None:
    counts = {s: sum(t.status == s for t in trials) for s in ("finished", "stopped", "failed")}
    print("\n" + ", ".join(f"{n} {s}" for s, n in counts.items()), flush=True)
    for trial in trials:
        if trial.status == "failed":
            print(f"  {trial.trial} failed: {trial.reason}", flush=True)
    if best is not None:
        told = {k: v for k, v in best.config.items() if seeds == 1 or k != "seed"}
        picked = "  ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in told.items())
        of = "" if seeds == 1 else f" (mean of {seeds} seeds)"
        print(f"best: recall {best.recall:.4f}, CV {best.cv:.4f}, MIN {best.minimum:.4f}{of} with {picked}", flush=True)
    files = "report.html, best.yaml, trials.parquet" if best else "report.html, trials.parquet"
    print(f"everything is in {os.fspath(folder)}: {files}", flush=True)
    if trials and all(trial.status == "failed" for trial in trials):
        raise UserError(f"{folder}: every trial failed; the reasons stand above and in report.html")
