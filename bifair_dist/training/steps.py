"""A phase's step and its batches: the settings of a run turned into a `BilevelStep`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem


@dataclass(slots=True)
class State:
    """What training moves: theta (replicated) and this worker's rows of Z [m, d]."""

    theta: Theta
    z: Tensor


def build_step(
    phase: Phase, problem: Problem, state: State, inner_group: dist.ProcessGroup | None = None
) -> BilevelStep:
    """The step of a phase, with fresh optimisers; `state` then shares its memory with the step's parameters."""
    settings, membership = problem.settings, problem.membership if phase.fair else None
    inner = InnerLoss(state.theta, problem.model)
    state.theta = {name: p.detach() for name, p in inner.theta.items()}
    state.z.requires_grad_(phase.train_z)
    balance = None
    if membership is not None:
        s = settings.balance
        rule = make_rule(
            s.rule,
            rho=s.rho,
            entropy_floor=s.entropy_floor,
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
        z=state.z,
        places=Workers(problem.comm, inner, inner_group),
        theta_optimizer=adam(inner.parameters(), phase.theta_lr, fused=True) if phase.train_theta else None,
        z_optimizer=adam([state.z], bilevel.eta, fused=True) if phase.train_z else None,
        balance=balance,
        membership=membership,
        method=bilevel.hypergradient,
        xi=bilevel.xi,
        eps=bilevel.eps,
        inner_steps=bilevel.inner_steps if phase.train_theta else 1,
    )


def epoch_key(epoch: int, phase: Phase) -> int:
    """Epoch key of the sampler: phases draw different batches."""
    return epoch + {"base": 0, "bilevel": 10**6, "fair_theta": 10**6, "fair_z": 2 * 10**6}[phase.name]


def outer_batch(problem: Problem, batch: Batch, epoch: int, s: int, phase: Phase) -> Batch:
    """The outer level's batch beside the inner level's `batch`, which is step `s` of `epoch`."""
    outer_data = problem.settings.bilevel.outer_data
    if outer_data == "same":
        return batch
    sampler = problem.outer_sampler or problem.sampler
    step = s + 1 if outer_data == "next" else epoch * problem.sampler.steps_per_epoch + s
    start = epoch if outer_data == "next" else 0
    return sampler.batch(epoch_key(start, phase), step).to(problem.device)
