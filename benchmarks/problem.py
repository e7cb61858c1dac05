"""The project's own step on pairs in memory, without files or a run folder."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.catalogue import Pairs, unit_rows
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import init_theta, widths
from bifair_dist.parallel.comm import Comm, shard_rows
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.phases import phases_of
from bifair_dist.training.problem import DTYPES, Problem
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.steps import State, build_step


def make_problem(pairs: Pairs, settings: TrainSettings, comm: Comm, device: torch.device | None = None) -> Problem:
    """As `bifair_dist.training.problem.load_problem`, from pairs in memory."""
    device = device or torch.device("cpu")
    graph = build_graph(pairs.user, pairs.item, pairs.n_users, pairs.n_items, DTYPES[settings.model.dtype])
    model = method_of(settings).model(settings, graph.to(device), comm)
    known = (graph.items_of_users, graph.users_of_items) if settings.model.exclude_known else (None, None)
    sampler = BatchSampler(
        pairs.user,
        pairs.item,
        pairs.n_items,
        batch_size=settings.training.batch_size,
        negatives=settings.model.num_negatives,
        shared=settings.model.negative_sampling == "shared",
        known=known[0],
        users_of_items=known[1],
        seed=settings.training.seed,
        rank=comm.rank,
        workers=comm.size,
    )
    membership = None
    if settings.training.balances:
        membership = Membership.of("item", pairs.item_of_group, pairs.group, pairs.n_items, pairs.n_groups)
    return Problem(
        settings=settings,
        dataset=cast(Any, None),  # the step does not read it
        comm=comm,
        device=device,
        model=model,
        ranking_model=model,
        sampler=sampler,
        outer_sampler=None,
        membership=membership,
    )


def random_rows(problem: Problem, n_items: int, width: int) -> Tensor:
    """This worker's rows of a random Z [m, width], or of id embeddings [m, k] for items and users."""
    settings, comm = problem.settings, problem.comm
    if settings.training.id_embeddings:
        n_items, width = n_items + problem.model.graph.n_users, settings.model.embedding_dim
    return unit_rows(shard_rows(n_items, comm.size), width, comm.rank).to(problem.dtype).to(problem.device)


def make_step(
    problem: Problem, z: Tensor, inner_group: dist.ProcessGroup | None = None
) -> tuple[BilevelStep, BatchSampler]:
    """The step of the method's last phase on a fresh projector; moves `z` where the phase does."""
    model, training = problem.settings.model, problem.settings.training
    phase = phases_of(problem.settings)[-1]
    if training.id_embeddings:
        return build_step(phase, problem, State({}, z), inner_group), problem.sampler
    theta = init_theta(z.shape[1], model.hidden, model.embedding_dim, model.projector, training.seed, z.dtype)
    theta = {name: t.to(z.device) for name, t in theta.items()}
    d, h, _ = widths(theta)
    if model.users == "frozen" or (not phase.train_z and h > d):  # as train_worker and Trainer do
        problem = problem.with_fixed_users(z)
    return build_step(phase, problem, State(theta, z), inner_group), problem.sampler
