"""The training loop of a worker: phases, epochs, validation, early stopping, the best state kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from bifair_dist.bilevel.step import StepRecord
from bifair_dist.errors import UserError
from bifair_dist.model.projector import widths
from bifair_dist.training.averaging import Average
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.outputs import BestState
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.steps import State, build_step, epoch_key, outer_batch

Report = Callable[[dict[str, Any]], None]


class Trainer:
    """Runs phases on a `Problem`. `report` is called on every worker at each validation with a flat record."""

    def __init__(
        self,
        problem: Problem,
        state: State,
        evaluator: Evaluator,
        best: BestState,
        report: Report,
        inner_group: dist.ProcessGroup | None = None,
    ) -> None:
        self.problem, self.state, self.evaluator, self.best = problem, state, evaluator, best
        self.report, self.inner_group = report, inner_group
        self.step_count = 0

    def run(self, phase: Phase) -> None:
        """Train until the epochs are used up or validation has stopped improving; leave the best state in place."""
        training = self.problem.settings.training
        problem = self._problem_of(phase)
        step = build_step(phase, problem, self.state, self.inner_group)
        per_epoch = problem.sampler.steps_per_epoch
        patience, best_value, count = training.patience, -math.inf, 0
        average = Average(training.average * per_epoch, self.state.theta, self.state.z, phase.train_z)
        for epoch in range(phase.epochs):
            start = time.monotonic()
            losses = torch.zeros(2, dtype=torch.float64)
            record = StepRecord(torch.zeros(()))
            for s in range(per_epoch):
                batch = problem.sampler.batch(epoch_key(epoch, phase), s).to(problem.device)
                record = step(count, batch, partial(outer_batch, problem, batch, epoch, s, phase))
                # Where theta stands still there is no inner loss; the outer one is what Z went down on.
                loss = float(record.loss if phase.train_theta or record.outer_loss is None else record.outer_loss)
                _check_finite(loss, phase, epoch, s)
                average.update()
                losses[0] += loss * batch.size
                losses[1] += batch.size / self.problem.comm.size
                record.g_z = None  # as large as the worker's rows of Z, and no longer needed
                count += 1
                self.step_count += 1
            seconds = time.monotonic() - start
            if (epoch + 1) % phase.eval_every and epoch + 1 < phase.epochs:
                continue
            total = self.problem.comm.all_reduce_sum(losses, "log")
            theta, z = average.averaged
            result = self.evaluator.evaluate(problem.ranking_model, theta, z, "valid").summary
            value = float(result[training.metric])
            better = value > best_value
            if better:
                best_value, patience = value, training.patience
                self.best.save(theta, z if phase.train_z else None)
            else:
                patience -= 1
            self.report(
                {
                    "phase": phase.name,
                    "epoch": epoch + 1,
                    "epochs": phase.epochs,
                    "step": self.step_count,
                    "seconds_per_epoch": seconds,
                    "loss": float(total[0] / total[1]),
                    "best": better,
                    "patience_left": patience,
                    "v_norm": record.v_norm,
                    "perturbation": record.e,
                    "weights": None if step.balance is None else step.balance.averaged.tolist(),
                    "group": problem.settings.balance.group,
                    "valid": result,
                }
            )
            if patience == 0:
                break
        self.best.restore(self.state.theta, self.state.z)

    def _problem_of(self, phase: Phase) -> Problem:
        """Where users' inputs cannot change in this phase, they are pooled once and not in every step.

        Only where pooling stands before the first layer: behind it, the pooled rows change with theta.
        """
        d, h, _ = widths(self.state.theta)
        if self.problem.model.user_inputs is None and not phase.train_z and h > d:
            return self.problem.with_fixed_users(self.state.z)
        return self.problem


def _check_finite(loss: float, phase: Phase, epoch: int, s: int) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is not finite in phase {phase.name}, epoch {epoch + 1}, step {s + 1}: training diverged; "
            "lower --bilevel.eta, --bilevel.theta_lr or --training.theta_lr"
        )
