"""What each worker does, from reading its rows to writing the run folder. Knows nothing of what launched it."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bifair_dist.errors import UserError
from bifair_dist.parallel.comm import Comm
from bifair_dist.runs import Metrics, Run
from bifair_dist.settings import flatten
from bifair_dist.tracking import open_tracker
from bifair_dist.training.checkpoints import Checkpoints, Saved
from bifair_dist.training.evaluator import Evaluator, Split
from bifair_dist.training.front_files import BEFORE, keep_fairest
from bifair_dist.training.lease import Owner, check_fence
from bifair_dist.training.outputs import write_projector, write_recommendations, write_result
from bifair_dist.training.phases import phases_of
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.run_log import RunLog
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.snapshot import Position
from bifair_dist.training.steps import State, settle_strategy
from bifair_dist.training.trainer import Trainer
from bifair_dist.workers.worker import Worker


def train_worker(settings: TrainSettings, folder: Path, owner: Owner, worker: Worker) -> Metrics:
    """Train on this worker, together with the others of its group; returns the content of `metrics.json`.

    Goes on from the last complete checkpoint of the run folder, where there is one.

    Args:
        settings: with absolute paths to a dataset and to representations.
        folder: the run folder; it exists, on storage that all workers see.
        owner: the driver's record in the run folder; where another one stands there, this worker writes nothing more.
        worker: process groups and device; its `report` gets the main metrics of each validation, and where it is seen
            the lines of `train.log` are printed as well.
    """
    torch.set_num_threads(settings.cluster.threads)
    comm = Comm(worker.group)
    with open_tracker(settings.tracking, folder, comm.rank) as tracker:
        tracker.params(flatten(settings))
        named = flatten(settings)
        tracker.inputs({key: (named[key], sha) for key, sha in Run(folder).provenance.data.items() if sha})
        fence = partial(check_fence, folder, owner.token)
        log = RunLog(folder, comm.rank, tracker, worker.report, worker.seen, fence)
        try:
            return _train(settings, worker, comm, log, owner.attempt)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{folder}: {error.strerror}; make room and run the same command again, it goes on from its last "
                "complete checkpoint"
            ) from None


def _train(settings: TrainSettings, worker: Worker, comm: Comm, log: RunLog, attempt: int) -> Metrics:
    settings = settle_strategy(settings, comm, worker.device, log.say)
    problem = load_problem(settings, comm, worker.device)
    z = problem.first_z()
    state = State(problem.first_theta(z.shape[1]), z)
    if settings.model.users == "frozen":
        problem = problem.with_fixed_users(z)
    dataset = problem.dataset
    evaluator = Evaluator(dataset, comm, settings.training.k)
    folder = log.run.folder
    vectors = f"{problem.method.rows_named} {z.shape[1]} wide"
    log.say(
        f"{dataset.n_users:,} users, {dataset.n_items:,} items, {len(dataset.train):,} training pairs; {vectors}, "
        f"{z.shape[0]:,} rows on each of {comm.size} worker{'s' * (comm.size > 1)}"
    )
    where = settings.checkpoint.folder
    checkpoints = Checkpoints(
        f"{where.rstrip('/')}/{folder.name}" if where else str(folder / "checkpoints"),
        comm,
        keep=settings.checkpoint.keep,
        attempt=attempt,
        fence=log.fence,
    )
    trainer = Trainer(problem, state, evaluator, checkpoints, log.report, worker.inner_group)
    saved = checkpoints.newest(log.say)
    phases = phases_of(settings)
    if saved is not None:
        trainer.position = Position(**saved.state["position"])
    log.resume(trainer.position.total)
    if saved is not None:
        log.say(_going_on(saved, trainer.position, phases[trainer.position.phase].name))
    for index in range(trainer.position.phase, len(phases)):
        phase, at = phases[index], trainer.position
        if phase.fair and at.before is None:
            at.before = _measure(problem, state, evaluator, log)
            if comm.rank == 0:
                write_projector(folder / BEFORE, state.theta)
        log.begin(phase, problem, at.epoch, at.total)
        trainer.run(phase, saved)
        saved = None
        trainer.next_phase()
    before = trainer.position.before
    if before is not None:
        state = keep_fairest(problem, state, evaluator, log)
    valid = evaluator.evaluate(problem.ranking_model, state.theta, state.z, "valid").summary
    tested = settings.training.test
    test = evaluator.evaluate(problem.ranking_model, state.theta, state.z, "test") if tested else None
    metrics = Metrics(valid, test.summary if test else None, None if before is None else Metrics.from_json(before))
    log.fence()
    write_result(log.run, problem, state, test, metrics)
    if comm.rank == 0:
        log.end(metrics, settings.balance.tables, trainer.position.total)
    return metrics


def _going_on(saved: Saved, at: Position, phase: str) -> str:
    return f"going on from checkpoint {saved.name}: phase {phase}, epoch {at.epoch + 1}, step {at.step + 1}"


def _measure(problem: Problem, state: State, evaluator: Evaluator, log: RunLog) -> dict[str, Any]:
    """Validation and test of the state that the fair phases start from: the `before` of the final table.

    Its lists are kept too, for the report to compare with. Without test where the run is not to be tested.
    """
    splits: tuple[Split, ...] = ("valid", "test") if problem.settings.training.test else ("valid",)
    found = {s: evaluator.evaluate(problem.ranking_model, state.theta, state.z, s) for s in splits}
    log.fence()
    if "test" in found:
        write_recommendations(log.run.recommendations_before, problem.dataset, found["test"], problem.comm)
    return {s: evaluation.summary.to_json() for s, evaluation in found.items()}
