"""The training loop of a worker: phases, epochs, validation, early stopping, the best state kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta, widths
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.training.evaluator import Evaluator
from bifair_dist.training.outputs import BestState
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem

Report = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class State:
    """What training moves: theta (replicated) and this worker's rows of Z [m, d]."""

    theta: Theta
    z: Tensor


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
        step = self.build_step(phase, problem)
        per_epoch = problem.sampler.steps_per_epoch
        patience, best_value, count = training.patience, -math.inf, 0
        for epoch in range(phase.epochs):
            start = time.monotonic()
            losses = torch.zeros(2, dtype=torch.float64)
            record = StepRecord(torch.zeros(()))
            for s in range(per_epoch):
                batch = problem.sampler.batch(self._epoch(epoch, phase), s).to(problem.device)
                record = step(count, batch, partial(self._outer_batch, problem, batch, epoch, s, phase))
                losses += torch.tensor([float(record.loss) * batch.size, batch.size / self.problem.comm.size])
                count += 1
                self.step_count += 1
                self._check_finite(record, phase, epoch, s)
            seconds = time.monotonic() - start
            if (epoch + 1) % phase.eval_every and epoch + 1 < phase.epochs:
                continue
            total = self.problem.comm.all_reduce_sum(losses, "log")
            result = self.evaluator.evaluate(problem.ranking_model, self.state.theta, self.state.z, "valid").summary
            value = float(result[training.metric])
            better = value > best_value
            if better:
                best_value, patience = value, training.patience
                self.best.save(self.state.theta, self.state.z if phase.train_z else None)
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

    def build_step(self, phase: Phase, problem: Problem) -> BilevelStep:
        """The step of a phase, with fresh optimisers."""
        settings, membership = problem.settings, problem.membership if phase.fair else None
        inner = InnerLoss(self.state.theta, problem.model)
        self.state.theta = {name: p.detach() for name, p in inner.theta.items()}
        self.state.z.requires_grad_(phase.train_z)
        balance = None
        if membership is not None:
            s = settings.balance
            rule = make_rule(
                s.rule,
                rho=s.rho,
                frank_wolfe_steps=s.frank_wolfe_steps,
                entropy_lambda=s.entropy_lambda,
                dro_step=s.dro_step,
            )
            balance = GroupBalance(
                rule,
                strength=s.fairness_strength,
                refresh_every=s.refresh,
                average=s.average,
                catalogue_sizes=membership.sizes,
            )
        adam = torch.optim.Adam
        bilevel = settings.bilevel
        return BilevelStep(
            model=problem.model,
            outer_model=problem.model,
            theta=inner.theta,
            z=self.state.z,
            places=Workers(problem.comm, inner, self.inner_group),
            theta_optimizer=adam(inner.parameters(), phase.theta_lr, fused=True) if phase.train_theta else None,
            z_optimizer=adam([self.state.z], bilevel.eta, fused=True) if phase.train_z else None,
            balance=balance,
            membership=membership,
            method=bilevel.hypergradient,
            xi=bilevel.xi,
            eps=bilevel.eps,
            inner_steps=bilevel.inner_steps,
        )

    def _problem_of(self, phase: Phase) -> Problem:
        """Where users' inputs cannot change in this phase, they are pooled once and not in every step.

        Only where pooling stands before the first layer: behind it, the pooled rows change with theta.
        """
        d, h, _ = widths(self.state.theta)
        if self.problem.model.user_inputs is None and not phase.train_z and h > d:
            return self.problem.with_fixed_users(self.state.z)
        return self.problem

    def _epoch(self, epoch: int, phase: Phase) -> int:
        """Epoch key of the sampler: phases draw different batches."""
        return epoch + {"base": 0, "bilevel": 10**6, "fair_theta": 10**6, "fair_z": 2 * 10**6}[phase.name]

    def _outer_batch(self, problem: Problem, batch: Batch, epoch: int, s: int, phase: Phase) -> Batch:
        outer_data = problem.settings.bilevel.outer_data
        if outer_data == "same":
            return batch
        sampler = problem.outer_sampler or problem.sampler
        step = s + 1 if outer_data == "next" else epoch * problem.sampler.steps_per_epoch + s
        start = epoch if outer_data == "next" else 0
        return sampler.batch(self._epoch(start, phase), step).to(problem.device)

    def _check_finite(self, record: StepRecord, phase: Phase, epoch: int, s: int) -> None:
        if not bool(torch.isfinite(record.loss)):
            raise FloatingPointError(
                f"the loss is not finite in phase {phase.name}, epoch {epoch + 1}, step {s + 1}: training diverged; "
                "lower --bilevel.eta, --bilevel.theta_lr or --training.theta_lr"
            )
