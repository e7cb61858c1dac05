"""What a study found: a row for each training, and test figures of the chosen settings against the reference's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bifair_dist.catalog.dataset import Dataset
from bifair_dist.study.cell import Cell
from bifair_dist.study.definition import Data, Study
from bifair_dist.study.paired import change_interval, mean_replicates
from bifair_dist.tuning.history import read_history
from bifair_dist.tuning.pareto import pareto_front

MEASURES = {"recall": "Recall", "ndcg": "NDCG", "cv": "CV", "minimum": "MIN"}


@dataclass(frozen=True, slots=True)
class Value:
    """Test figure: mean and standard deviation over seeds (nan of one), relative change of the mean against the
    reference's, and the 95 % interval of that change over users."""

    mean: float
    spread: float
    change: float
    ends: tuple[float, float]

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.ends[0] > 0 or self.ends[1] < 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A method's line. `values` by name in `MEASURES`; `seconds` an epoch of its last phase, `epochs` of that phase.

    `tried`: validation (recall, CV) at each point; `front`: how many of them no other method's point beats in both.
    """

    method: str
    point: dict[str, Any]
    cells: list[Cell]
    values: dict[str, Value]
    seconds: float
    epochs: float
    tried: list[tuple[float, float]]
    front: int


def entries_of(
    found: Sequence[tuple[str, list[Cell], list[Cell]]], study: Study, dataset: Dataset, group: str, replicates: int
) -> list[Entry]:
    """Lines for (method, its trainings at all points, those of the chosen point), the reference's first."""
    found = sorted(found, key=lambda row: row[0] != study.reference)
    base_cells = found[0][2]
    k = base_cells[0].settings.training.k
    base = _mean(base_cells, group)
    base_draws = mean_replicates([c.folder for c in base_cells], dataset, group, k, replicates)
    tried = {name: [_valid(cell, group) for cell in cells if cell.finished] for name, cells, _ in found}
    entries = []
    for name, _, cells in found:
        draws = mean_replicates([c.folder for c in cells], dataset, group, k, replicates)
        values = {}
        for key, mean in _mean(cells, group).items():
            all_seeds = [getattr(cell.figures("test", group), key) for cell in cells]
            spread = statistics.stdev(all_seeds) if len(all_seeds) > 1 else math.nan
            values[key] = Value(mean, spread, mean / base[key] - 1 if base[key] else math.nan,
                                change_interval(draws[key], base_draws[key]))  # fmt: skip
        others = [point for other, points in tried.items() if other != name for point in points]
        on = pareto_front([(-r, cv) for r, cv in [*tried[name], *others]])[: len(tried[name])]
        last = [read_history(cell.folder)[-1] for cell in cells]
        entries.append(
            Entry(
                name,
                cells[0].point,
                cells,
                values,
                statistics.mean(r["seconds_per_epoch"] for r in last),
                statistics.mean(r["epoch"] for r in last),
                tried[name],
                sum(on),
            )
        )
    return entries


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
        f"deviation over seeds, change against {study.reference} and its paired 95 % bootstrap interval over users; * "
        "where that leaves out zero. On the front: of the points tried, those that no point of any method beats in "
        "validation recall and CV."
    )


def shown(value: Value) -> str:
    """`0.2386 ± 0.0002`."""
    return f"{value.mean:.4f}" + ("" if math.isnan(value.spread) else f" ± {value.spread:.4f}")


def moved(value: Value, *, ends: bool = True) -> str:
    """`-34.5 %*: -38.2 to -30.9`, the interval only with `ends`."""
    interval = f": {100 * value.ends[0]:+.1f} to {100 * value.ends[1]:+.1f}"
    star = "*" if value.differs else ""
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
    part = path.with_name(path.name + ".part")
    pd.DataFrame(list(rows.values())).to_parquet(part, index=False)
    part.replace(path)


def _mean(cells: Sequence[Cell], group: str) -> dict[str, float]:
    figures = [cell.figures("test", group) for cell in cells]
    return {key: statistics.mean(getattr(f, key) for f in figures) for key in MEASURES}


def _valid(cell: Cell, group: str) -> tuple[float, float]:
    figures = cell.figures("valid", group)
    return figures.recall, figures.cv
