"""A study from beginning to end; the same command goes on after a cut, and repeats nothing that is there.

1. the reference at each of its points, first seed; the best on validation is the reference from here on
2. the reference with the other seeds, and every other method at each of its points with the first seed; methods that
   balance groups start from the reference's run of the same seed
3. each method's best point on validation with the other seeds
4. test figures of those alone, in the tables and on the page
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.errors import UserError
from bifair_dist.experiments.cell import Cell, placed
from bifair_dist.experiments.choice import choose
from bifair_dist.experiments.definition import Data, Method, Point, Study, read_study
from bifair_dist.experiments.local import Runner
from bifair_dist.experiments.settings import StudySettings
from bifair_dist.experiments.study_page import write_study_page
from bifair_dist.experiments.table import Entry, corrected, entries_of, markdown, write_trials
from bifair_dist.settings import override
from bifair_dist.training.inputs import with_data
from bifair_dist.training.settings import TrainSettings


@dataclass(slots=True)
class Part:
    """One method on one dataset and group table: its trainings at all points (first seed), and the chosen one's."""

    data: Data
    group: str
    method: Method
    tried: list[Cell]
    chosen: list[Cell] = field(default_factory=list)


def run_study(settings: StudySettings) -> Path:
    """Run it, or the rest of it; returns the study's folder. Raises `UserError`."""
    if not settings.file:
        raise UserError("no study given: --file jobs/studies/smoke.yaml")
    study = read_study(Path(settings.file).expanduser())
    output = Path(settings.output).expanduser().absolute()
    folder = output / study.name
    plan = _Plan(study, Path(settings.data).expanduser().absolute(), output / "runs")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"study folder: {folder}", flush=True)
    runner = Runner(settings)
    parts: list[Part] = []
    try:
        _train_all(plan, runner, parts)
    finally:
        if parts:
            _tell(study, plan, parts, folder, settings.replicates)
    if runner.failed:
        raise UserError(f"{len(runner.failed)} trainings failed, see above; the tables are without them")
    if runner.late:
        raise UserError("time is up (--stop_after); the same command goes on")
    return folder


def _train_all(plan: _Plan, runner: Runner, parts: list[Part]) -> None:
    """Train in stages; `parts` is filled as it goes, so that a study that is cut off can tell what it has."""
    study, first = plan.study, plan.study.seeds[0]
    reference = study.method(study.reference)
    starts = {data.name: plan.cells(data, "", reference, first, None) for data in study.datasets}
    runner.run("reference", [cell for cells in starts.values() for cell in cells])
    seeds = []
    for data in study.datasets:
        best = choose(starts[data.name], "", None, study.keep) if runner.ended(starts[data.name]) else None
        if best is None:
            continue
        bases = {s: plan.cell(data, "", reference, best.point, s, None) for s in study.seeds}
        seeds += list(bases.values())
        plan.bases[data.name] = bases
        for group in data.groups:
            parts.append(Part(data, group, reference, starts[data.name], list(bases.values())))
            for method in study.methods:
                if method is not reference:
                    parts.append(Part(data, group, method, plan.cells(data, group, method, first, bases[first])))
    runner.run("points", [*seeds, *(cell for part in parts for cell in part.tried)])
    for part in parts:
        bases = plan.bases[part.data.name]
        # Where time ran out, a choice among some of the points would be another choice than among all of them.
        if part.method is reference or not runner.ended(part.tried):
            continue
        balances = plan.settings(part.data, part.method, part.method.points[0]).training.balances
        known = bases[first].figures("valid", part.group) if balances else None
        best = choose(part.tried, part.group, known, study.keep)
        if best is not None:
            ready = [s for s in study.seeds if bases[s].finished]
            part.chosen = [plan.cell(part.data, part.group, part.method, best.point, s, bases[s]) for s in ready]
    runner.run("seeds", [cell for part in parts for cell in part.chosen])


class _Plan:
    """From the study's words to trainings. `bases`: the reference's runs by dataset and seed."""

    def __init__(self, study: Study, data: Path, runs: Path) -> None:
        self.study, self.runs = study, runs
        self.bases: dict[str, dict[int, Cell]] = {}
        self.data: dict[str, Dataset] = {}
        self._filled: dict[str, dict[str, str]] = {}
        for part in study.datasets:
            self.data[part.name] = read_dataset(data / part.folder)
            for group in part.groups:
                if group not in self.data[part.name].groups:
                    known = ", ".join(self.data[part.name].groups)
                    raise UserError(f"{study.name}: datasets.{part.name}.groups: no table {group}; it has {known}")
        for part in study.datasets:
            given = {"data.dataset": str(data / part.folder), "data.cache": str(data / "cache")}
            if part.representations:
                given["data.representations"] = str(data / part.representations)
            reference = study.method(study.reference)
            full = with_data(override(study.resolved(part, reference, reference.points[0]), given))
            filled = {"data.dataset": full.data.dataset, "data.representations": full.data.representations}
            self._filled[part.name] = {**filled, "data.cache": full.data.cache}

    def settings(self, data: Data, method: Method, point: Point) -> TrainSettings:
        """Of a training, but for seed, start and place."""
        resolved = self.study.resolved(data, method, point)
        one = {"cluster.launcher": "inline"} if resolved.cluster.launcher == "auto" else {}
        return override(resolved, {**self._filled[data.name], **one})

    def cell(self, data: Data, group: str, method: Method, point: Point, seed: int, base: Cell | None) -> Cell:
        """One training; `base` is the reference's run that methods with fair phases start from."""
        settings = override(self.settings(data, method, point), {"training.seed": seed})
        group = group if settings.training.balances else ""
        if group:
            assert base is not None
            settings = override(settings, {"balance.group": group, "training.warm_start": str(base.folder)})
        settings = placed(settings, self.runs, data.name, method.name)
        return Cell(data.name, group, method.name, point, seed, settings)

    def cells(self, data: Data, group: str, method: Method, seed: int, base: Cell | None) -> list[Cell]:
        """A training for each point of the method."""
        return [self.cell(data, group, method, point, seed, base) for point in method.points]


def _tell(study: Study, plan: _Plan, parts: list[Part], folder: Path, replicates: int) -> None:
    """Files and the tables of what there is so far."""
    rows: list[tuple[Data, str, list[Entry]]] = []
    for data in study.datasets:
        for group in data.groups:
            mine = [part for part in parts if part.data is data and part.group == group]
            found = [(part.method.name, part.tried, [c for c in part.chosen if c.finished]) for part in mine]
            found = [row for row in found if row[2]]
            if found:
                rows.append((data, group, entries_of(found, study, plan.data[data.name], group, replicates)))
    rows = corrected(rows, study.reference)
    write_trials(folder / "trials.parquet", [(p.group, c) for p in parts for c in (*p.tried, *p.chosen)])
    text = markdown(study, rows)
    (folder / "tables.md").write_text(text, encoding="utf-8")
    write_study_page(folder / "report.html", study, rows)
    print(f"\n{text}\neverything is in {folder}: report.html, tables.md, trials.parquet, figures", flush=True)
