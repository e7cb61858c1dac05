"""The states between AlphaRec's and the fair one in a run folder: evaluated at the end of a run, written again later.

projector_before.safetensors           theta_0; Z_0 are the vectors that the run started from
front.json                             every point with its validation figures, and which one was kept
front_end/                             theta and Z of the fair end, where another state was kept
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from bifair_dist.evaluation.choice import feasible, unfairness
from bifair_dist.files import write_json
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.front import STEPS, Point, between, chosen, harmed, points
from bifair_dist.training.outputs import write_projector, write_vectors
from bifair_dist.training.problem import Problem
from bifair_dist.training.run_log import RunLog
from bifair_dist.training.steps import State

BEFORE = "projector_before.safetensors"
FRONT = "front.json"
END = "front_end"


def keep_fairest(problem: Problem, end: State, evaluator: Evaluator, log: RunLog) -> State:
    """Evaluate the points between the run's two ends on validation; write them, and return the state to keep.

    All workers call it. `end` is the state that the fair phases ended with.
    """
    settings, comm = problem.settings, problem.comm
    tables, budget = settings.balance.tables, settings.balance.accuracy_budget
    theta = {name: t.to(problem.device, end.z.dtype) for name, t in load_file(log.run.folder / BEFORE).items()}
    start = (theta, problem.first_z() if settings.training.balances_z else end.z)
    wanted = settings.balance.interpolation
    steps = sorted({*STEPS, *([] if wanted is None else [wanted])})
    results = []
    for a in steps:
        state = between(start, (end.theta, end.z), a, problem.tables)
        results.append(evaluator.evaluate(problem.ranking_model, *state, "valid").result)
    found = points(steps, results, tables, comm, settings.training.seed)
    kept = found[steps.index(chosen(found, tables, budget) if wanted is None else wanted)]
    log.fence()
    if comm.rank == 0:
        write_json(log.run.folder / FRONT, record(found, kept, tables, budget))
    if kept.interpolation != 1.0:
        _write_end(log.run.folder / END, problem, end)
    log.say(sentence(found, kept, tables, budget if wanted is None else None))
    return State(*between(start, (end.theta, end.z), kept.interpolation, problem.tables))


def record(found: list[Point], kept: Point, tables: tuple[str, ...], budget: float) -> dict[str, Any]:
    """The content of `front.json`."""
    return {
        "accuracy_budget": budget,
        "tables": list(tables),
        "kept": kept.interpolation,
        "points": [point.record(found[0].measured, budget) for point in found],
    }


def sentence(found: list[Point], kept: Point, tables: tuple[str, ...], budget: float | None) -> str:
    """What was kept, for a person; `budget` None: it was asked for and not chosen."""
    base = found[0].measured
    share = "" if budget is None else f"{100 * budget:g} %"
    if kept.interpolation == 0 and share:
        fairer = [p for p in found if unfairness(base, p.cautious) < 1 and feasible(base, p.cautious, budget or 0.0)]
        if fairer:  # so the guard of the watched tables ruled them out
            names = sorted({name for p in fairer for name in harmed(found[0].valid, p.valid, tables)})
            return (
                f"\nno fairer state within {share} of AlphaRec's accuracy leaves {', '.join(names)} as fair as it was: "
                "kept AlphaRec's; try balancing it instead, with --balance.group"
            )
        return (
            f"\nno fairer state within {share} of AlphaRec's accuracy: kept AlphaRec's; try a larger "
            "--balance.accuracy_budget or another --balance.fairness_strength"
        )
    cvs = zip(tables, base.cvs, kept.measured.cvs, strict=True)
    changes = ", ".join(f"{name} CV {100 * (now / then - 1):+.1f} %" for name, then, now in cvs if then)
    where = "the end of the fair phase" if kept.interpolation == 1 else f"{kept.interpolation:g} of the way to the end"
    what = f"the fairest state within {share} of AlphaRec's accuracy" if share else "the state asked for"
    return f"\nkept {what}, {where}: {changes} on validation"


def _write_end(folder: Path, problem: Problem, end: State) -> None:
    folder.mkdir(exist_ok=True)
    if problem.comm.rank == 0:
        write_projector(folder / "projector.safetensors", end.theta)
    if problem.settings.training.balances_z:
        about = {"model": "bifair_dist", "run": folder.parent.name, "started_from": problem.started_from}
        write_vectors(folder / "item_representations", problem.dataset.item_ids, end.z, problem.comm, about)
