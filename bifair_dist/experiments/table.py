"""Test figures of the chosen points against the reference's, and the files of all trials."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bifair_dist.data.dataset import Dataset
from bifair_dist.evaluation.hypervolume import hypervolume
from bifair_dist.evaluation.many_comparisons import benjamini_hochberg, p_value
from bifair_dist.experiments.epochs import epochs_used, epochs_warning
from bifair_dist.experiments.paired import Replicates, change_interval, mean_replicates
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.selection import Result, mark_front
from bifair_dist.experiments.trial import Figures, Point, Trial
from bifair_dist.files import writing

MEASURES = {"recall": "Recall", "ndcg": "NDCG", "cv": "CV", "minimum": "MIN"}


@dataclass(frozen=True, slots=True)
class Value:
    """Test figure: mean and standard deviation over seeds (nan of one), relative change of the mean against that of the
    reference's runs of the same seeds, the 95 % interval of that change over users and seeds, and the p of no change;
    `remains`: it differs also among all comparisons of the study (`evaluation/many_comparisons.py`)."""

    mean: float
    spread: float
    change: float
    ends: tuple[float, float]
    p: float = math.nan
    remains: bool = False

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.ends[0] > 0 or self.ends[1] < 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A method's line. `values` by name in `MEASURES`; `seconds` an epoch of its last phase; `warning`: what speaks
    against its figures.

    `tried`: validation at each point; `front`: how many of them no other method's point beats in recall and CV.
    `area`: hypervolume of each run's states against the reference's of the same seed, on validation, mean over seeds.
    """

    method: str
    point: Point
    trials: list[Trial]
    values: dict[str, Value]
    seconds: float
    epochs: str
    warning: str
    tried: list[Result]
    front: int
    area: float


def entries_of(searches: Sequence[Search], reference: str, dataset: Dataset, replicates: int) -> list[Entry]:
    """Lines of the searches of one dataset and group table that have chosen a point; the reference's first."""
    searches = sorted(searches, key=lambda search: search.method != reference)
    group, first = searches[0].group, searches[0].chosen

    @functools.cache  # the reference's runs are asked for once a method
    def draws(runs: tuple[Path, ...]) -> Replicates:
        return mean_replicates(runs, dataset, group, first[0].settings.training.k, replicates)

    tried = {search.method: [r for r in search.results() if r.status == "finished"] for search in searches}
    mark_front([result for results in tried.values() for result in results])
    references = {trial.seed: trial for trial in first}
    entries = []
    for search in searches:
        trials = [trial for trial in search.chosen if trial.seed in references]
        if not trials:
            continue
        entries.append(
            Entry(
                method=search.method,
                point=trials[0].point,
                trials=trials,
                values=_values(trials, [references[trial.seed] for trial in trials], group, draws),
                seconds=statistics.mean(trial.run.history[-1].seconds_per_epoch for trial in trials),
                epochs=epochs_used([trial.run for trial in trials]),
                warning=epochs_warning(search.method, [trial.run for trial in trials]),
                tried=tried[search.method],
                front=sum(result.front for result in tried[search.method]),
                area=statistics.mean(_area(trial, references[trial.seed], group) for trial in trials),
            )
        )
    return entries


def _area(trial: Trial, reference: Trial, group: str) -> float:
    """Hypervolume of the states that the run can be set to."""
    states, base = trial.states(group), reference.states(group)[-1]
    return hypervolume([(state.recall, state.cv) for state in states], (base.recall, base.cv))


def _values(
    trials: list[Trial], references: list[Trial], group: str, draws: Callable[[tuple[Path, ...]], Replicates]
) -> dict[str, Value]:
    """Test figures of a method's runs against the reference's of the same seeds."""
    mine, theirs = ([trial.tested(group) for trial in some] for some in (trials, references))
    own, base_draws = (draws(tuple(trial.folder for trial in some)) for some in (trials, references))
    values = {}
    for key in MEASURES:
        over_seeds = [getattr(f, key) for f in mine]
        mean, base = statistics.mean(over_seeds), statistics.mean(getattr(f, key) for f in theirs)
        spread = statistics.stdev(over_seeds) if len(over_seeds) > 1 else math.nan
        change = mean / base - 1 if base else math.nan
        replicates = own[key] / base_draws[key] - 1.0
        values[key] = Value(mean, spread, change, change_interval(replicates), p_value(replicates))
    return values


def corrected(tables: Sequence[Sequence[Entry]], reference: str) -> list[list[Entry]]:
    """The same with `remains` filled in: all figures of all methods against the reference are one family."""
    family = [(e, key) for entries in tables for e in entries if e.method != reference for key in MEASURES]
    remains = benjamini_hochberg([e.values[key].p for e, key in family])
    remaining = {(id(e), key): kept for (e, key), kept in zip(family, remains, strict=True)}

    def filled(e: Entry) -> Entry:
        return replace(e, values={k: replace(v, remains=remaining.get((id(e), k), False)) for k, v in e.values.items()})

    return [[filled(e) for e in entries] for entries in tables]


def markdown(title: str, entries: Sequence[Entry], reference: str) -> list[str]:
    """One table as lines of Markdown, and its warnings."""
    head = ["method", "chosen", "seeds", *MEASURES.values(), "hypervolume", "on the front", "s/epoch", "epochs"]
    lines = ["", f"## {title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for e in entries:
        values = [e.values[key] for key in MEASURES]
        figures = [shown(v) + ("" if e.method == reference else f" ({moved(v, ends=False)})") for v in values]
        about = [e.method, point_text(e.point), str(len(e.trials))]
        rest = [f"{e.area:.4f}", f"{e.front}/{len(e.tried)}", f"{e.seconds:.2f}", e.epochs]
        lines.append("| " + " | ".join([*about, *figures, *rest]) + " |")
    return [*lines, *(f"\nwarning: {e.warning}" for e in entries if e.warning)]


def shown(value: Value) -> str:
    """`0.2386 ± 0.0002`."""
    return f"{value.mean:.4f}" + ("" if math.isnan(value.spread) else f" ± {value.spread:.4f}")


def moved(value: Value, *, ends: bool = True) -> str:
    """`-34.5 %*: -38.2 to -30.9`, the interval only with `ends`."""
    interval = f": {100 * value.ends[0]:+.1f} to {100 * value.ends[1]:+.1f}"
    star = "**" if value.differs and value.remains else "*" if value.differs else ""
    return f"{100 * value.change:+.1f} %{star}" + (interval if ends and not math.isnan(value.ends[0]) else "")


def point_text(point: Point) -> str:
    """`fairness_strength 0.3, eta 0.000123`."""
    values = {k.rpartition(".")[2]: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in point.items()}
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "-"


def write_study_trials(path: Path, searches: Sequence[Search]) -> None:
    """Parquet, a row for each finished training and group table: settings, run folder, figures on validation; those
    on test of the chosen points alone."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for search in searches:
        group, chosen = search.group, {trial.folder for trial in search.chosen}
        for trial in (*search.tried, *search.chosen):
            if trial.finished and (valid := trial.valid):
                about = {"dataset": trial.dataset, "group": group, "method": trial.method, "seed": trial.seed}
                figures = {f"valid_{k}": v for k, v in asdict(Figures.of(valid, group)).items()}
                if trial.folder in chosen:
                    figures |= {f"test_{k}": v for k, v in asdict(trial.tested(group)).items()}
                rows[group, trial.folder.name] = {**about, **trial.point, **figures, "run": trial.folder.name}
    _write(path, list(rows.values()))


def write_sweep_trials(path: Path, results: Sequence[Result]) -> None:
    """Parquet, a row for each trial: settings, status, figures on validation, J, whether it is on a front."""
    rows = []
    for r in results:
        about = {"trial": r.name, "status": r.status, "reason": r.reason, "validations": r.validations}
        place = {"objective": r.objective, "front": r.front, "front_min": r.front_min}
        rows.append({**about, **asdict(r.figures), **place, **r.point, "seed": r.seed})
    _write(path, rows)


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with writing(path) as part:
        pd.DataFrame(list(rows)).to_parquet(part, index=False)
