"""What each worker does, from reading its rows to writing the run folder. Knows nothing of what launched it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bifair_dist.config import TrainSettings, flatten
from bifair_dist.parallel.comm import Comm
from bifair_dist.progress import duration
from bifair_dist.report.table import evaluation_line
from bifair_dist.tracking import Tracker, open_tracker
from bifair_dist.training.evaluator import Evaluation, Evaluator, Split
from bifair_dist.training.outputs import (
    BestState,
    write_json,
    write_projector,
    write_recommendations,
    write_representations,
)
from bifair_dist.training.phases import Phase, phases_of
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.trainer import State, Trainer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs: its process group (None: alone), a second one for DDP, its device."""

    group: dist.ProcessGroup | None
    inner_group: dist.ProcessGroup | None
    device: torch.device


def train_worker(
    settings: TrainSettings, folder: Path, place: Place, report: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Train on this worker, together with the others of `place.group`; returns the content of `metrics.json`.

    `report`, where given, is called on every worker with the flat metrics of each validation.
    """
    torch.set_num_threads(settings.cluster.threads)
    comm = Comm(place.group)
    with open_tracker(settings.tracking, folder, comm.rank) as tracker:
        tracker.params(flatten(settings))
        return _train(settings, folder, place, comm, tracker, report)


def _train(
    settings: TrainSettings,
    folder: Path,
    place: Place,
    comm: Comm,
    tracker: Tracker,
    report: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    problem = load_problem(settings, comm, place.device)
    z = problem.first_z()
    state = State(problem.first_theta(z.shape[1]), z)
    if settings.model.users == "frozen":
        problem = problem.with_fixed_users(z)
    dataset = problem.dataset
    evaluator = Evaluator(dataset, comm, settings.training.k)
    log = _Log(folder, comm.rank, tracker, report)
    log.say(
        f"{dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.train):,} training pairs; item vectors "
        f"{z.shape[1]} wide, {z.shape[0]:,} rows on each of {comm.size} worker{'s' if comm.size > 1 else ''}"
    )
    trainer = Trainer(problem, state, evaluator, BestState(folder, comm), log.report, place.inner_group)
    before: dict[str, Any] | None = None
    for phase in phases_of(settings):
        if phase.fair and before is None:
            before = _measure(problem, state, evaluator)
        log.begin(phase, problem)
        trainer.run(phase)
    valid = evaluator.evaluate(problem.ranking_model, state.theta, state.z, "valid").summary
    test = evaluator.evaluate(problem.ranking_model, state.theta, state.z, "test")
    metrics = {"valid": valid, "test": test.summary}
    if before is not None:
        metrics["before"] = before
    _write(folder, problem, state, test, metrics)
    if comm.rank == 0:
        tracker.metrics(_flat({"final": metrics}), trainer.step_count)
        for name in ("config.yaml", "metrics.json", "history.jsonl"):
            tracker.artifact(folder / name)
    return metrics


def _measure(problem: Problem, state: State, evaluator: Evaluator) -> dict[str, Any]:
    """Validation and test of the state that the fair phases start from: the `before` of the final table."""
    splits: tuple[Split, ...] = ("valid", "test")
    return {s: evaluator.evaluate(problem.ranking_model, state.theta, state.z, s).summary for s in splits}


def _write(folder: Path, problem: Problem, state: State, test: Evaluation, metrics: dict[str, Any]) -> None:
    comm, dataset = problem.comm, problem.dataset
    about = {"model": "bifair_dist", "run": folder.name, "started_from": problem.settings.data.representations}
    write_representations(folder / "item_representations", dataset, state.z, comm, about)
    write_recommendations(folder / "recommendations.parquet", dataset, test, comm)
    if comm.rank == 0:
        write_projector(folder / "projector.safetensors", state.theta)
        write_json(folder / "metrics.json", metrics)


class _Log:
    """Lines for a person, `history.jsonl` for a program, MLflow, and the launcher's own report; rank 0 writes."""

    def __init__(
        self, folder: Path, rank: int, tracker: Tracker, forward: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.history = folder / "history.jsonl"
        self.rank, self.tracker, self.forward = rank, tracker, forward
        self.start = self.phase_start = time.monotonic()

    def say(self, line: str) -> None:
        """Print a line, once over all workers."""
        if self.rank == 0:
            print(line, flush=True)

    def begin(self, phase: Phase, problem: Problem) -> None:
        """Announce a phase."""
        what = " and ".join(n for n, moves in (("projector", phase.train_theta), ("Z", phase.train_z)) if moves)
        loss = f"balanced by {problem.settings.balance.group}" if phase.fair else "plain loss"
        steps = problem.sampler.steps_per_epoch
        self.phase_start = time.monotonic()
        self.say(f"\nphase {phase.name}: {what}, {loss}, at most {phase.epochs} epochs of {steps} steps")

    def report(self, record: dict[str, Any]) -> None:
        """Record a validation."""
        flat = _flat(record)
        if self.rank == 0:
            with self.history.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**record, "seconds": time.monotonic() - self.start}) + "\n")
            self.tracker.metrics(flat, record["step"])
            spent = time.monotonic() - self.phase_start
            left = spent / record["epoch"] * (record["epochs"] - record["epoch"])
            print(
                f"  epoch {record['epoch']:>3}/{record['epochs']}  loss {record['loss']:.4f}  "
                f"{evaluation_line(record['valid'])}  {record['seconds_per_epoch']:.2f} s/epoch, "
                f"at most {duration(left)} left{'  best' if record['best'] else ''}",
                flush=True,
            )
        if self.forward is not None:
            self.forward(flat)


def _flat(value: Any, prefix: str = "") -> dict[str, float]:
    """Numbers of a nested record under names joined by `/`; the rest is left out."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(i), v) for i, v in enumerate(value))  # type: ignore[assignment]
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return {prefix: float(value)} if number else {}
    return {k: v for name, part in items for k, v in _flat(part, f"{prefix}/{name}" if prefix else str(name)).items()}
