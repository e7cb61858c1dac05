"""A phase's step and its batches: the settings of a run turned into a `BilevelStep`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.distributed as dist
from torch import Tensor

from bifair_dist.bilevel.finite_difference import least_eps
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.penalty import Penalty
from bifair_dist.bilevel.step import BilevelStep, Places
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.items import ItemBalance
from bifair_dist.bilevel.weights.registry import rule_of
from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.batch import Batch
from bifair_dist.model.cached import CachedAlphaRec
from bifair_dist.model.projector import Theta
from bifair_dist.model.refresh import InBlocks
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.cpu_adam import choose_host_adam
from bifair_dist.parallel.deepspeed_engine import DeepSpeedWorkers
from bifair_dist.parallel.host_adam import HostAdam
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.touched import TouchedRows
from bifair_dist.settings import override
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.settings import TrainSettings


@dataclass(slots=True)
class State:
    """What training moves: theta (replicated) and this worker's rows of Z [m, d]."""

    theta: Theta
    z: Tensor


def settle_strategy(
    settings: TrainSettings, comm: Comm, device: torch.device, say: Callable[[str], None]
) -> TrainSettings:
    """The settings with `deepspeed.host_adam` decided, and what has to be compiled for it compiled.

    All workers call it together; `say` hears what a person waits for. Raises `UserError`.
    """
    if settings.training.strategy != "deepspeed":
        return settings
    say(f"strategy deepspeed: the projector under ZeRO {settings.deepspeed.zero_stage}")
    if not settings.deepspeed.offload_z_adam:
        return settings
    kernel = choose_host_adam(settings.deepspeed.host_adam, device, comm, say)
    name = {"torch": "torch's Adam", "deepspeed": "DeepSpeedCPUAdam"}[kernel]
    say(f"Z's Adam moments are in host memory, {name} updates it there")
    return override(settings, {"deepspeed.host_adam": kernel})


def build_step(
    phase: Phase, problem: Problem, state: State, inner_group: dist.ProcessGroup | None = None
) -> BilevelStep:
    """The step of a phase, with fresh optimisers; `state` then shares its memory with the step's parameters."""
    settings, membership = problem.settings, problem.membership if phase.fair else None
    check_precision(phase, settings, state.theta, problem.device)
    model, cached = problem.model, settings.model.propagation == "cached"
    if cached:
        model = cached_model(settings, model, problem.comm, phase)
    low = _in_low_precision(model, settings)
    theta, places, theta_optimizer = _inner_level(phase, problem, low, state.theta, inner_group)
    state.theta = {name: p.detach() for name, p in theta.items()}
    state.z.requires_grad_(phase.train_z and not cached)
    balance, items, rule = None, None, rule_of(settings.balance)
    if membership is not None and rule.weighs_items:
        counts = problem.ranking_model.graph.item_degree.squeeze(1).cpu()
        items = ItemBalance(rule.item_weights(counts), settings.balance.fairness_strength)
    elif membership is not None:
        balance = _balance(settings, membership)
    bilevel = settings.bilevel
    step = BilevelStep(
        model=model,
        outer_model=low,
        theta=theta,
        z=state.z,
        places=places,
        theta_optimizer=theta_optimizer,
        z_optimizer=_z_optimizer(problem, state.z, phase.z_lr) if phase.train_z else None,
        balance=balance,
        membership=membership,
        items=items,
        method=bilevel.hypergradient,
        unroll=bilevel.unroll,
        xi=bilevel.xi,
        eps=bilevel.eps,
        inner_steps=bilevel.inner_steps if phase.train_theta else 1,
        weighs_outer=settings.balance.losses == "outer",
        penalty=_penalty(settings, phase, state.theta),
    )
    if not isinstance(model, CachedAlphaRec):
        return step
    own = {f.name: getattr(step, f.name) for f in fields(step)}
    return CachedStep(**own, cached=model, comm=problem.comm, interval=phase.interval)


def check_precision(phase: Phase, settings: TrainSettings, theta: Theta, device: torch.device) -> None:
    """Raise `UserError` where the device has no bfloat16, or where the perturbation of theta would be rounded away."""
    low = settings.training.precision == "bf16"
    if low and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"training.precision: {torch.cuda.get_device_name(device)} has no bfloat16 units; take full")
    bilevel = settings.bilevel
    if not (phase.train_z and phase.train_theta and theta) or bilevel.xi == 0:
        return
    if bilevel.hypergradient == "finite_difference" and bilevel.eps < (least := least_eps(theta)):
        raise UserError(
            f"bilevel.eps: {bilevel.eps:g} is lost in the rounding of {settings.model.dtype}, theta + e v would be "
            f"theta; for this projector it has to be above {least:.1g}, or --bilevel.hypergradient exact"
        )


def cached_model(settings: TrainSettings, model: Backbone, comm: Comm, phase: Phase) -> CachedAlphaRec:
    """The cached sibling of the model of a phase. Raises `UserError` where there is none."""
    if not isinstance(model, InBlocks):
        raise UserError("model.propagation: cached has no sibling of this model; take --model.propagation full")
    through_history = phase.train_z and model.user_inputs is None
    touching = TouchedRows(comm, model.graph, settings.cached.history if through_history else 0)
    return CachedAlphaRec(model, touching, settings.cached.ridge)


def _in_low_precision(model: Backbone, settings: TrainSettings) -> Backbone:
    """The model of the inner and outer passes. The perturbed ones stay with the full one: bf16 would swallow e v."""
    if settings.training.precision == "full":
        return model
    if not isinstance(model, AlphaRec):
        raise UserError(f"training.precision: {type(model).__name__} has no low precision; take full")
    return replace(model, low=torch.bfloat16)


def _balance(settings: TrainSettings, membership: Membership) -> GroupBalance:
    s = settings.balance
    return GroupBalance(
        rule_of(s),
        strength=s.fairness_strength,
        refresh_every=s.refresh,
        average=s.average,
        catalogue_sizes=membership.sizes,
        stream_rate=s.stream_rate,
        inner=s.inner,
        outer=s.outer,
        outer_strength=s.outer_strength,
    )


def _penalty(settings: TrainSettings, phase: Phase, theta: Theta) -> Penalty | None:
    if settings.bilevel.hypergradient != "penalty" or not (phase.fair and phase.train_theta and phase.train_z):
        return None
    return Penalty(theta, settings.bilevel.penalty, torch.optim.Adam, phase.theta_lr)


def _inner_level(
    phase: Phase, problem: Problem, model: Backbone, theta: Theta, inner_group: dist.ProcessGroup | None
) -> tuple[Theta, Places, torch.optim.Optimizer | None]:
    """theta as leaves, where its gradient comes from, and what moves it (None where it stands still)."""
    settings = problem.settings
    if phase.train_theta and settings.training.strategy == "deepspeed":
        stage = settings.deepspeed.zero_stage
        sharded = DeepSpeedWorkers(problem.comm, theta, model, lr=phase.theta_lr, stage=stage)
        return sharded.theta, sharded, sharded.optimizer
    inner = InnerLoss(theta, model)
    adam = torch.optim.Adam(inner.parameters(), phase.theta_lr, fused=True) if phase.train_theta else None
    return inner.theta, Workers(problem.comm, inner, inner_group), adam


def _z_optimizer(problem: Problem, z: Tensor, lr: float) -> torch.optim.Optimizer:
    settings = problem.settings
    if settings.model.propagation == "cached":
        return LazyAdam(z, lr, problem.tables)
    if settings.deepspeed.offload_z_adam:
        return HostAdam(z, lr, "deepspeed" if settings.deepspeed.host_adam == "deepspeed" else "torch")
    return torch.optim.Adam([z], lr, fused=True)


def epoch_key(epoch: int, phase: Phase) -> int:
    """Epoch key of the sampler: phases draw different batches."""
    return epoch + phase.first_key


def outer_batch(problem: Problem, batch: Batch, epoch: int, s: int, phase: Phase) -> Batch:
    """The outer level's batch beside the inner level's `batch`, which is step `s` of `epoch`."""
    if problem.outer_sampler is not None:
        return problem.outer_sampler.batch(epoch_key(0, phase), s).to(problem.device)
    if problem.settings.outer_data == "same":
        return batch
    return problem.sampler.batch(epoch_key(epoch, phase), s + 1).to(problem.device)


def use_pairs(step: BilevelStep, problem: Problem, phase: Phase, fresh: bool) -> None:
    """Let the step go on with another problem's graph: that of the pairs which its inner level sees.

    `fresh`: at the start of an epoch, where cached propagation begins with a refresh over it.
    """
    if isinstance(step, CachedStep):
        other = cached_model(problem.settings, problem.model, problem.comm, phase)
        step.use(other.full, other.touching, fresh)
        return
    step.model = problem.model
    step.outer_model = _in_low_precision(problem.model, problem.settings)
    step.places.use(step.outer_model)
