"""What a study found: a row for each training, and test figures of the chosen settings against the reference's."""

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
from bifair_dist.evaluation.many_comparisons import RATE, benjamini_hochberg, p_value
from bifair_dist.experiments.cell import Cell
from bifair_dist.experiments.definition import Data, Study
from bifair_dist.experiments.paired import Replicates, change_interval, mean_replicates
from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.files import writing

MEASURES = {"recall": "Recall", "ndcg": "NDCG", "cv": "CV", "minimum": "MIN"}


@dataclass(frozen=True, slots=True)
class Value:
    """Test figure: mean and standard deviation over seeds (nan of one), relative change of the mean against that of the
    reference's runs of the same seeds, the 95 % interval of that change over users, and the p of no change;
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
    """A method's line. `values` by name in `MEASURES`; `seconds` an epoch of its last phase.

    `tried`: validation (recall, CV) at each point; `front`: how many of them no other method's point beats in both.
    """

    method: str
    point: dict[str, Any]
    cells: list[Cell]
    values: dict[str, Value]
    seconds: float
    tried: list[tuple[float, float]]
    front: int


def entries_of(
    found: Sequence[tuple[str, list[Cell], list[Cell]]], study: Study, dataset: Dataset, group: str, replicates: int
) -> list[Entry]:
    """Lines for (method, its trainings at all points, those of the chosen point), the reference's first."""
    found = sorted(found, key=lambda row: row[0] != study.reference)

    @functools.cache  # the reference's runs are asked for once a method
    def draws(runs: tuple[Path, ...]) -> Replicates:
        return mean_replicates(runs, dataset, group, found[0][2][0].settings.training.k, replicates)

    references = {cell.seed: cell for cell in found[0][2]}
    tried = {name: [_valid(cell, group) for cell in cells if cell.finished] for name, cells, _ in found}
    entries = []
    for name, _, cells in found:
        cells = [cell for cell in cells if cell.seed in references]
        if not cells:
            continue
        others = [point for other, points in tried.items() if other != name for point in points]
        on = pareto_front([(-r, cv) for r, cv in [*tried[name], *others]])[: len(tried[name])]
        seconds = statistics.mean(cell.run.history[-1].seconds_per_epoch for cell in cells)
        values = _values(cells, [references[cell.seed] for cell in cells], group, draws)
        entries.append(Entry(name, cells[0].point, cells, values, seconds, tried[name], sum(on)))
    return entries


def _values(
    cells: list[Cell], references: list[Cell], group: str, draws: Callable[[tuple[Path, ...]], Replicates]
) -> dict[str, Value]:
    """Test figures of a method's runs against the reference's of the same seeds."""
    mine, theirs = ([cell.figures("test", group) for cell in some] for some in (cells, references))
    own, base_draws = (draws(tuple(cell.folder for cell in some)) for some in (cells, references))
    values = {}
    for key in MEASURES:
        over_seeds = [getattr(f, key) for f in mine]
        mean, base = statistics.mean(over_seeds), statistics.mean(getattr(f, key) for f in theirs)
        spread = statistics.stdev(over_seeds) if len(over_seeds) > 1 else math.nan
        change = mean / base - 1 if base else math.nan
        replicates = own[key] / base_draws[key] - 1.0
        values[key] = Value(mean, spread, change, change_interval(replicates), p_value(replicates))
    return values


def corrected(rows: Sequence[tuple[Data, str, list[Entry]]], reference: str) -> list[tuple[Data, str, list[Entry]]]:
    """The same with `remains` filled in: all figures of all methods against the reference are one family."""
    family = [(e, key) for _, _, entries in rows for e in entries if e.method != reference for key in MEASURES]
    remains = benjamini_hochberg([e.values[key].p for e, key in family])
    told = {(id(e), key): kept for (e, key), kept in zip(family, remains, strict=True)}

    def filled(e: Entry) -> Entry:
        return replace(e, values={k: replace(v, remains=told.get((id(e), k), False)) for k, v in e.values.items()})

    return [(data, group, [filled(e) for e in entries]) for data, group, entries in rows]


def markdown(study: Study, rows: Sequence[tuple[Data, str, list[Entry]]]) -> str:
    """The tables as Markdown."""
    lines = [f"# {study.name}", "", study.about]
    head = ["method", "chosen", "seeds", *MEASURES.values(), "on the front", "s/epoch"]
    for data, group, entries in rows:
        lines += ["", f"## {data.name}, {group}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for e in entries:
            cells = [
                shown(v) + ("" if e.method == study.reference else f" ({moved(v, ends=False)})")
                for v in (e.values[key] for key in MEASURES)
            ]
            about = [e.method, point_text(e.point), str(len(e.cells))]
            lines.append("| " + " | ".join([*about, *cells, f"{e.front}/{len(e.tried)}", f"{e.seconds:.2f}"]) + " |")
    lines += ["", note(study)]
    return "\n".join(lines) + "\n"


def note(study: Study) -> str:
    """How the tables are to be read."""
    return (
        f"Test figures at the point chosen on validation with seed {study.seeds[0]}: least CV where recall and NDCG "
        f"keep {100 * study.keep:g} % of {study.reference}'s; for plain losses highest recall. Mean ± standard "
        f"deviation over seeds, change against {study.reference} with the same seeds and its paired 95 % bootstrap "
        "interval over users; * where that leaves out zero, ** where it also differs among all comparisons of this "
        f"study (Benjamini-Hochberg, false discovery rate {RATE:g}). On the front: of the points tried, those that no "
        "point of any method beats in validation recall and CV."
    )


def shown(value: Value) -> str:
    """`0.2386 ± 0.0002`."""
    return f"{value.mean:.4f}" + ("" if math.isnan(value.spread) else f" ± {value.spread:.4f}")


def moved(value: Value, *, ends: bool = True) -> str:
    """`-34.5 %*: -38.2 to -30.9`, the interval only with `ends`."""
    interval = f": {100 * value.ends[0]:+.1f} to {100 * value.ends[1]:+.1f}"
    star = "**" if value.differs and value.remains else "*" if value.differs else ""
    return f"{100 * value.change:+.1f} %{star}" + (interval if ends and not math.isnan(value.ends[0]) else "")


def point_text(point: dict[str, Any]) -> str:
    """`fairness_strength 0.3`."""
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in point.items()) or "-"


def write_trials(path: Path, cells: Sequence[tuple[str, Cell]]) -> None:
    """Parquet, a row for each finished training and group table: validation and test figures, settings, run folder."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for group, cell in cells:
        if cell.finished:
            about = {"dataset": cell.data, "group": group, "method": cell.method, "seed": cell.seed, **cell.point}
            valid, test = (asdict(cell.figures(split, group)) for split in ("valid", "test"))
            figures = {f"valid_{k}": v for k, v in valid.items()} | {f"test_{k}": v for k, v in test.items()}
            rows[group, cell.folder.name] = {**about, **figures, "run": cell.folder.name}
    with writing(path) as part:
        pd.DataFrame(list(rows.values())).to_parquet(part, index=False)


def _valid(cell: Cell, group: str) -> tuple[float, float]:
    figures = cell.figures("valid", group)
    return figures.recall, figures.cv
