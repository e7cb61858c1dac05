"""The training loop of a worker: phases, epochs, validation, early stopping, checkpoints, the best state kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.errors import UserError
from bifair_dist.evaluation.choice import shortfall
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.projector import widths
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.runs import Metrics, Start, Summary, Validation, spread
from bifair_dist.training.averaging import Average
from bifair_dist.training.checkpoints import Checkpoints, Saved
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.folds import Folds
from bifair_dist.training.front import figures, harmed
from bifair_dist.training.lazy_averaging import LazyAverage, average_of
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.selection import score
from bifair_dist.training.snapshot import Position, Snapshot
from bifair_dist.training.steps import State, build_step, epoch_key, outer_batch, use_pairs
from bifair_dist.training.watch import Drift

Report = Callable[[Validation], None]


class Trainer:
    """Runs phases on a `Problem`. `report` is called on every worker at each validation .

    `position` is where the run stands; given one from a checkpoint, `run` goes on from there.
    """

    def __init__(
        self,
        problem: Problem,
        state: State,
        evaluator: Evaluator,
        checkpoints: Checkpoints,
        report: Report,
        inner_group: dist.ProcessGroup | None = None,
    ) -> None:
        self.problem, self.state, self.evaluator, self.checkpoints = problem, state, evaluator, checkpoints
        self.report, self.inner_group = report, inner_group
        self.position = Position(0, problem.settings.training.patience)
        self._start = time.monotonic()
        self._drift = Drift(state.z, problem.n_rows, problem.comm)  # no checkpoint is loaded yet: this is Z0

    def run(self, phase: Phase, saved: Saved | None = None) -> None:
        """Train until the epochs are used up or validation has stopped improving; leave the best state in place.

        `saved`: the checkpoint of this phase to go on from; `position` is its position already.
        """
        problem, at = self._problem_of(phase), self.position
        folds = Folds(problem, problem.fixed_from) if phase.fair and problem.settings.folded else None
        step = build_step(phase, problem, self.state, self.inner_group)
        window = problem.settings.training.average * problem.sampler.steps_per_epoch
        average = average_of(step, window, self.state, phase.train_z)
        snapshot = Snapshot(step, average, problem.n_rows)
        if saved is not None:
            self.checkpoints.load(saved.name, snapshot.tensors())
            snapshot.restore(saved.state)
        while at.epoch < phase.epochs and at.patience > 0:
            if folds is not None:
                problem = folds.in_epoch(at.epoch)
                use_pairs(step, problem, phase, fresh=at.step == 0)
            record, losses, seconds = self._epoch(phase, problem, step, average, snapshot)
            at.epoch, at.step = at.epoch + 1, 0
            if _validated(at.epoch, phase):
                self._validate(phase, step, average, snapshot, record, losses, seconds)
        if at.best:
            self.checkpoints.load(at.best, snapshot.best_tensors())

    def next_phase(self) -> None:
        """Move on to the start of the phase after this one."""
        at = self.position
        patience = self.problem.settings.training.patience
        self.position = Position(at.phase + 1, patience, at.total, seconds=at.seconds, before=at.before)

    def _epoch(
        self, phase: Phase, problem: Problem, step: BilevelStep, average: Average | LazyAverage, snapshot: Snapshot
    ) -> tuple[StepRecord, Tensor, float]:
        """The steps of the present epoch from the position on: last record, (loss sum, pairs) here, s per epoch."""
        at, start, first = self.position, time.monotonic(), self.position.step
        per_epoch = problem.sampler.steps_per_epoch
        # What the epoch had before a cut is a total already; one worker carries it.
        before = (at.loss_sum, at.pairs) if problem.comm.rank == 0 else (0.0, 0.0)
        losses = torch.tensor(before, dtype=torch.float64)
        record = StepRecord(torch.zeros(()))
        every = problem.settings.checkpoint.every
        for s in range(first, per_epoch):
            batch = problem.sampler.batch(epoch_key(at.epoch, phase), s).to(problem.device)
            record = step(at.count, batch, partial(outer_batch, problem, batch, at.epoch, s, phase))
            # Where theta stands still there is no inner loss; the outer one is what Z went down on.
            loss = float(record.loss if phase.train_theta or record.outer_loss is None else record.outer_loss)
            if not (math.isfinite(loss) and math.isfinite(record.v_norm)):
                raise self._diverged(phase, s, batch.size)
            average.update()
            losses[0] += loss * batch.size
            losses[1] += batch.size / problem.comm.size
            record.g_z = None  # as large as the worker's rows of Z, and no longer needed
            at.count, at.total, at.step = at.count + 1, at.total + 1, s + 1
            at_validation = s + 1 == per_epoch and _validated(at.epoch + 1, phase)
            if every and at.total % every == 0 and not at_validation:
                self._save(snapshot, losses)
        steps = max(1, per_epoch - first)
        at.loss_sum = at.pairs = 0.0
        return record, losses, (time.monotonic() - start) / steps * per_epoch

    def _validate(
        self,
        phase: Phase,
        step: BilevelStep,
        average: Average | LazyAverage,
        snapshot: Snapshot,
        record: StepRecord,
        losses: Tensor,
        seconds: float,
    ) -> None:
        problem, at, training = self.problem, self.position, self.problem.settings.training
        theta, z = average.averaged
        total = problem.comm.all_reduce_sum(torch.cat([losses, self._drift.squares(z)]), "log")
        result = self.evaluator.evaluate(problem.ranking_model, theta, z, "valid").summary
        value = self._value(phase, result)
        strength = None if step.balance is None else step.balance.strength
        if phase.fair and step.balance is not None:
            # After what was validated is known and before it is saved: a resumed run has the strength that follows.
            step.balance.adapt(self.problem.settings.balance.adapt, self._shortfall(result))
        better = at.best_value is None or value > at.best_value
        if better:
            at.best_value, at.patience = value, training.patience
            at.best = self.checkpoints.name(at.total)
        else:
            at.patience -= 1
        self.report(
            Validation(
                phase=phase.name,
                epoch=at.epoch,
                epochs=phase.epochs,
                step=at.total,
                seconds_per_epoch=seconds,
                seconds=at.seconds + time.monotonic() - self._start,
                loss=float(total[0] / total[1]),
                best=better,
                patience_left=at.patience,
                v_norm=record.v_norm,
                perturbation=record.e,
                weights=None if step.balance is None else step.balance.averaged.tolist(),
                group_losses=None if step.balance is None else step.balance.recent_losses,
                group=problem.settings.balance.group,
                moves_z=phase.train_z,
                # R^2 of the cached propagation's fit in the last step.
                fit=float(step.cached.explained) if isinstance(step, CachedStep) else None,
                # Where Z began at random, how far it is from there says nothing.
                z_drift=0.0 if problem.at_random or not total[3] else math.sqrt(float(total[2] / total[3])),
                began_with=self._began_with() if phase.fair else None,
                strength=strength,
                harmed=harmed(self._base, result, problem.settings.balance.tables) if phase.fair else (),
                valid=result,
            )
        )
        self._save(snapshot, torch.zeros(2, dtype=torch.float64))

    def _value(self, phase: Phase, summary: Summary) -> float:
        """What the best state has most of: accuracy, or in a fair phase fairness within the accuracy budget."""
        return -min(score(self.problem.settings, summary, self._base if phase.fair else None), 1e6)  # JSON: no infinity

    def _shortfall(self, summary: Summary) -> float:
        """By how much accuracy falls short of what the budget keeps of the fair phases' start."""
        balance = self.problem.settings.balance
        first, now = (figures(s, balance.tables) for s in (self._base, summary))
        return shortfall(first, now, balance.accuracy_budget)

    def _began_with(self) -> Start:
        """Validation figures of the state that the fair phases started from."""
        training, balance = self.problem.settings.training, self.problem.settings.balance
        before = self._base
        value = float(before.accuracy[training.metric] or 0.0)
        return Start(training.metric, value, *spread(before, balance.tables))

    @property
    def _base(self) -> Summary:
        """Validation of the state that the fair phases started from."""
        assert self.position.before is not None
        return Metrics.from_json(self.position.before).valid

    def _save(self, snapshot: Snapshot, losses: Tensor) -> None:
        at = self.position
        at.loss_sum, at.pairs = self.problem.comm.all_reduce_sum(losses, "log").tolist()
        now = time.monotonic()
        at.seconds, self._start = at.seconds + now - self._start, now
        self.checkpoints.save(at.total, snapshot.tensors(), snapshot.state(at), at.best)

    def _problem_of(self, phase: Phase) -> Problem:
        """Where users' inputs cannot change in this phase, they are pooled once and not in every step.

        Only where pooling stands before the first layer: behind it, the pooled rows change with theta.
        """
        model = self.problem.model
        if phase.train_z or not isinstance(model, AlphaRec) or model.user_inputs is not None:
            return self.problem
        d, h, _ = widths(self.state.theta)
        return self.problem.with_fixed_users(self.state.z) if h > d else self.problem

    def _diverged(self, phase: Phase, s: int, pairs: int) -> UserError:
        last = self.checkpoints.last
        return UserError(
            f"the loss is not finite in phase {phase.name}, epoch {self.position.epoch + 1}, step {s + 1} (step "
            f"{self.position.total + 1} of the run; its batch is number {s} of epoch key "
            f"{epoch_key(self.position.epoch, phase)}, {pairs} pairs, seed {self.problem.settings.training.seed}): "
            "training diverged; lower --bilevel.eta, --bilevel.theta_lr or --training.theta_lr; the last good "
            f"checkpoint is {self.checkpoints.place + '/' + last if last else 'none'}"
        )


def _validated(epochs: int, phase: Phase) -> bool:
    """Whether a validation follows after that many epochs of the phase."""
    return epochs % phase.eval_every == 0 or epochs == phase.epochs
