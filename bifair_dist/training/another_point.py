"""Another point between AlphaRec's state and the fair end of a finished run, as a run folder of its own: no training.

Its test figures are evaluated then, so that each point's are looked at only when it was chosen.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bifair_dist.data.representations import building, read_rows
from bifair_dist.errors import UserError
from bifair_dist.files import write_json
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs import Metrics, Run, point_folder
from bifair_dist.settings import load, override, to_yaml
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.front import Point, between, chosen
from bifair_dist.training.front_files import BEFORE, END, FRONT, record, sentence
from bifair_dist.training.outputs import write_result
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.steps import State


def write_point(run: Run, folder: Path | None, interpolation: float | None, budget: float | None) -> Path:
    """Write the point at `interpolation`, or the fairest within `budget` of AlphaRec's accuracy, and return its folder.

    Whole or not at all. `folder` None: beside the run, named by the point. Raises `UserError` for a run without fair
    phases, and where the folder exists.
    """
    settings = load(TrainSettings(), run.config_file)
    before = run.metrics.before
    if before is None or not (run.folder / FRONT).is_file():
        raise UserError(f"{run.folder}: has no {FRONT}, because the run had no fair phase; only its own state exists")
    front, said = _front(run), ""
    if interpolation is None:
        assert budget is not None
        found, tables = _points(run, front), tuple(front["tables"])
        interpolation = chosen(found, tables, budget)
        kept = next(point for point in found if point.interpolation == interpolation)
        said = ": " + sentence(found, kept, tables, budget).strip()
        front = record(found, kept, tables, budget)
    folder = folder or point_folder(run, interpolation)
    place = {"training.output": str(folder.absolute().parent), "training.run_name": folder.name}
    settings = override(settings, {**place, "balance.interpolation": interpolation})
    with torch.no_grad(), building(folder) as made:
        new = Run(made)
        new.write_config(to_yaml(settings))
        for name in ("provenance.json", "history.jsonl", BEFORE, run.recommendations_before.name):
            if (run.folder / name).is_file():
                shutil.copy(run.folder / name, made)
        new.append_log(f"state {interpolation:g} of the way from AlphaRec's to the fair end of {run.name}{said}")
        write_json(made / FRONT, {**front, "kept": interpolation})
        _copy_end(run, made / END, settings)
        problem = load_problem(settings, Comm(), torch.device("cpu"))
        if settings.model.users == "frozen":
            problem = problem.with_fixed_users(problem.first_z())
        state = _state(run, problem, interpolation)
        evaluator = Evaluator(problem.dataset, problem.comm, settings.training.k)
        valid, test = (evaluator.evaluate(problem.ranking_model, state.theta, state.z, s) for s in ("valid", "test"))
        write_result(new, problem, state, test, Metrics(valid.summary, test.summary, before), folder.name)
    return folder


def _front(run: Run) -> dict[str, Any]:
    path = run.folder / FRONT
    try:
        front = json.loads(path.read_text(encoding="utf-8"))
        return {name: front[name] for name in ("accuracy_budget", "tables", "kept", "points")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not what a training wrote; the file was changed since the run") from None


def _points(run: Run, front: dict[str, Any]) -> list[Point]:
    try:
        return [Point.of_record(line, front["tables"]) for line in front["points"]]
    except KeyError:
        raise UserError(
            f"{run.folder / FRONT}: of an earlier version, which did not keep standard errors; give --interpolation"
        ) from None


def _end(run: Run) -> tuple[Path, Path]:
    """Projector and item vectors of the fair end: the run's own where it kept that, else those beside it."""
    if (run.folder / END).is_dir():
        return run.folder / END / run.projector.name, run.folder / END / run.item_vectors.name
    return run.projector, run.item_vectors


def _copy_end(run: Run, folder: Path, settings: TrainSettings) -> None:
    """So that further points can be written from the new folder, too."""
    projector, vectors = _end(run)
    folder.mkdir()
    shutil.copy(projector, folder)
    if settings.training.balances_z:
        shutil.copytree(vectors, folder / vectors.name)


def _state(run: Run, problem: Problem, a: float) -> State:
    settings, first = problem.settings, problem.first_z()
    projector, vectors = _end(run)
    start, end = (
        {name: t.to(problem.dtype) for name, t in load_file(path).items()} for path in (run.folder / BEFORE, projector)
    )
    last = first
    if settings.training.balances_z:
        last = torch.from_numpy(read_rows(vectors, problem.dataset.item_ids, dtype=settings.model.dtype))
    return State(*between((start, first), (end, last), a))
