"""A sweep: baseline, a search on Ray Tune, confirmation with other seeds, page; the same command goes on with it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bifair_dist.data.dataset import read_dataset
from bifair_dist.errors import Interrupted, UserError
from bifair_dist.experiments.ray_tune import search_on_ray, settings_of
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.selection import Result, Rule
from bifair_dist.experiments.settings import TuneSettings
from bifair_dist.experiments.space import Space, load_space
from bifair_dist.experiments.sweep_page import write_sweep_page
from bifair_dist.experiments.table import Entry, corrected, entries_of, write_sweep_trials
from bifair_dist.experiments.trial import Figures, Trial, placed
from bifair_dist.runs import Run
from bifair_dist.settings import flatten, override, to_yaml
from bifair_dist.tracking import Tracker, close_tracker, open_tracker, tag_run
from bifair_dist.training.inputs import with_data
from bifair_dist.training.launch import train
from bifair_dist.training.run_folder import MAY_CHANGE
from bifair_dist.training.settings import TrainSettings
from bifair_dist.workers.raw_lines import raw_lines_to
from bifair_dist.workers.ray_cluster import ray_for

REPLICATES = 500
"""Of the bootstrap over users and seeds, as in studies."""


def sweep(settings: TuneSettings) -> Path:
    """Run it, or the rest of it; returns the sweep folder. The space's fixed values are in the settings already
    (`space.fixed_under`). Raises `UserError`, `Interrupted`."""
    space, tune = load_space(settings.tune.space), settings.tune
    base = TrainSettings(**{f: getattr(settings, f) for f in TrainSettings.model_fields})
    if tune.recall_share is not None:
        base = override(base, {"balance.accuracy_budget": round(1 - tune.recall_share, 12)})
    base = with_data(override(base, {"training.report": False}))
    folder = Path(tune.output).expanduser().absolute() / (tune.name or f"{space.name}-{Path(base.data.dataset).name}")
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder, settings, space)
    print(f"sweep folder: {folder}", flush=True)
    # All runs of a sweep in one place, that of the sweep's own.
    base = override(base, {"tracking.uri": base.tracking.uri or f"sqlite:///{folder.parent / 'mlflow.db'}"})
    try:
        with raw_lines_to(folder / "ray.log"), ray_for(base.cluster, spare_cpus=1):  # for the trials' own processes
            name = f"{folder.name}: {Path(base.data.dataset).name}, {base.balance.group}"
            with open_tracker(settings.tracking, folder, name=name) as tracker:
                tracker.params(flatten(settings.tune))
                tag_run(settings.tracking, folder, {"dataset": base.data.dataset, "group": base.balance.group})
                _run(base, space, settings, folder, tracker)
    except KeyboardInterrupt:
        for trial in (folder / "trials").glob("*"):
            if not Run(trial).finished:
                close_tracker(base.tracking, trial, "KILLED")
        raise Interrupted("interrupted; the same command goes on with the sweep") from None
    return folder


def _run(base: TrainSettings, space: Space, settings: TuneSettings, folder: Path, tracker: Tracker) -> None:
    tune, group, dataset = settings.tune, base.balance.group, Path(base.data.dataset)
    tested = override(base, {"training.test": settings.training.test, "training.report": settings.training.report})
    base = override(base, {"training.test": False})  # what a sweep sees, it would choose by
    reference = baseline(base, folder.parent / "baselines")
    known = reference.run.metrics.valid
    figures = Figures.of(known, group)
    print(f"baseline: recall {figures.recall:.4f}, {group} CV {figures.cv:.4f} (validation)", flush=True)
    if space.warm_start:
        base, tested = (override(s, {"training.warm_start": str(reference.folder)}) for s in (base, tested))
    rule = Rule(base, known if base.training.balances else None, group)
    trials = search_on_ray(base, space, tune, folder, rule, tracker.run_id)
    search = Search(dataset.name, group, "chosen", rule, trials, len(space.seeds))
    results = search.results()
    best = search.best(results)
    write_sweep_trials(folder / "trials.parquet", results)
    for result in results:
        _label(base, folder / "trials" / result.name, result, best)
    entries: list[Entry] = []
    if best is not None:
        chosen = settings_of(tested, {**best.point, "seed": best.seed}, Path("runs"), "")
        text = to_yaml(override(chosen, {"tracking": settings.tracking.model_dump()}))
        (folder / "best.yaml").write_text(text, encoding="utf-8")
        searches = _confirm(chosen, tune.confirm, folder / "confirm", search, reference)
        if tune.confirm:
            (entries,) = corrected([entries_of(searches, "AlphaRec", read_dataset(dataset), REPLICATES)], "AlphaRec")
        tracker.metrics({"best/recall": best.figures.recall, "best/cv": best.figures.cv}, 0)
        tracker.metrics({"best/min": best.figures.minimum, "best/J": best.objective}, 0)
    write_sweep_page(folder / "report.html", space, search, results, reference, best, entries)
    for name in ("report.html", "trials.parquet", "best.yaml"):
        if (folder / name).is_file():
            tracker.artifact(folder / name)
    _say(folder, results, best, len(space.seeds))


def baseline(base: TrainSettings, place: Path) -> Trial:
    """AlphaRec with these settings, trained once: its folder is named by what its numbers depend on."""
    settings = override(base, {"training.method": "alpharec", "training.warm_start": ""})
    settings = placed(settings, place)
    train(settings, table=False)
    return Trial(settings, {}, method="AlphaRec")


def _label(base: TrainSettings, trial: Path, result: Result, best: Result | None) -> None:
    """What a person sorts and filters the trials' MLflow runs by."""
    planes = {"pareto": result.front, "pareto_min": result.front_min}
    tags = {tag: "front" if on else "dominated" for tag, on in planes.items()} | {"status": result.status}
    tags["chosen"] = str(best is not None and best.point == result.point).lower()
    figures = {"J": result.objective, **asdict(result.figures)}
    figures = {f"choice/{name}": value for name, value in figures.items() if math.isfinite(value)}
    tag_run(base.tracking, trial, tags, figures)
    if result.status == "stopped":  # its process ended where it stood
        close_tracker(base.tracking, trial, "KILLED")


def _confirm(
    chosen: TrainSettings, seeds: Sequence[int], folder: Path, search: Search, reference: Trial
) -> list[Search]:
    """Baseline and best setting with other seeds, on test; each is a run that is trained once."""
    before, after = [], []
    for seed in seeds:
        place = {"training.output": str(folder), "training.seed": seed, "training.report": False, "training.test": True}
        alone = {"training.method": "alpharec", "training.warm_start": "", "training.run_name": f"alpharec-{seed}"}
        before.append(Trial(override(chosen, {**place, **alone}), {}, method="AlphaRec"))
        warm = {"training.warm_start": str(before[-1].folder)} if chosen.training.warm_start else {}
        values = flatten(chosen)
        point = {key: values[key] for key in search.tried[0].point}
        after.append(Trial(override(chosen, {**place, **warm, "training.run_name": f"best-{seed}"}), point))
        for trial in (before[-1], after[-1]):
            train(trial.settings, table=False)
    search.chosen = after
    plain = Rule(reference.settings, None, search.group)
    return [Search(search.dataset, search.group, "AlphaRec", plain, [reference], chosen=before), search]


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


def _say(folder: Path, results: Sequence[Result], best: Result | None, seeds: int) -> None:
    counts = {s: sum(r.status == s for r in results) for s in ("finished", "stopped", "failed")}
    print("\n" + ", ".join(f"{n} {s}" for s, n in counts.items()), flush=True)
    for result in results:
        if result.status == "failed":
            print(f"  {result.name} failed: {result.reason}", flush=True)
    if best is not None:
        named = {**best.point, **({"seed": best.seed} if seeds == 1 else {})}
        picked = "  ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in named.items())
        of, f = "" if seeds == 1 else f" (mean of {seeds} seeds)", best.figures
        print(f"best: recall {f.recall:.4f}, CV {f.cv:.4f}, MIN {f.minimum:.4f}{of} with {picked}", flush=True)
    files = "report.html, best.yaml, trials.parquet" if best else "report.html, trials.parquet"
    print(f"everything is in {folder}: {files}", flush=True)
    if results and all(result.status == "failed" for result in results):
        raise UserError(f"{folder}: every trial failed; the reasons stand above and in report.html")
