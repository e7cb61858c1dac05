"""Cached steps on a small problem for any number of workers: 20 steps with refreshes, bytes and rows counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from world import Case, Data, gather, make_data, shard

from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.model.cached import CachedAlphaRec
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import init_theta
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.parallel.touched import TouchedRows

STEPS, INTERVAL, PER, RATE = 20, 8, 2, 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedCase:
    """What is different from the plain case of world.py."""

    case: Case
    train_theta: bool = True
    train_z: bool = True


PLAIN = Case(n_users=61, n_items=47, n_pairs=500, k=7, h=9, d=12)
CASES: dict[str, CachedCase] = {
    "plain": CachedCase(case=PLAIN),
    "exact": CachedCase(case=replace(PLAIN, method="exact")),
    "pool before the first layer": CachedCase(case=replace(PLAIN, d=5, h=13)),
    "linear projector": CachedCase(case=replace(PLAIN, projector="linear")),
    "negatives per example": CachedCase(case=replace(PLAIN, shared=False, negatives=5)),
    "fewer rows than 4 full shards": CachedCase(case=replace(PLAIN, n_items=9, n_users=33, n_pairs=140, negatives=5)),
    "frozen users": CachedCase(case=replace(PLAIN, users="frozen")),
    "outer data: the next batch": CachedCase(case=replace(PLAIN, outer="next")),
    "user groups": CachedCase(case=replace(PLAIN, groups="user", rule="group_dro")),
    "theta only": CachedCase(case=PLAIN, train_z=False),
    "Z only": CachedCase(case=PLAIN, train_theta=False),
}


def build(
    cached: CachedCase, data: Data, comm: Comm, inner_group: dist.ProcessGroup | None
) -> tuple[CachedStep, BatchSampler]:
    """The step and its batches."""
    case = cached.case
    graph = build_graph(data.user, data.item, case.n_users, case.n_items, torch.float64)
    full = AlphaRec(graph, Sharded(comm), tau=0.3)
    z = shard(data.z, comm)
    if case.users == "frozen":
        full = replace(full, user_inputs=full.pooled(z))
    through = cached.train_z and case.users != "frozen"
    model = CachedAlphaRec(full, TouchedRows(comm, graph, PER if through else 0))
    inner = InnerLoss(init_theta(case.d, case.h, case.k, case.projector, 5, torch.float64), model)
    entities = case.n_users if case.groups == "user" else case.n_items
    membership = Membership.of(
        "user" if case.groups == "user" else "item", data.entity_index, data.group_index, entities, case.n_groups
    )
    step = CachedStep(
        model=model,
        outer_model=model,
        theta=inner.theta,
        z=z,
        places=Workers(comm, inner, inner_group),
        theta_optimizer=torch.optim.Adam(inner.parameters(), RATE) if cached.train_theta else None,
        z_optimizer=LazyAdam(z, RATE) if cached.train_z else None,
        balance=GroupBalance(
            make_rule(case.rule), strength=case.strength, refresh_every=case.refresh, average=case.average,
            catalogue_sizes=membership.sizes,
        ),
        membership=membership,
        method=case.method,
        xi=case.xi,
        eps=case.eps,
        cached=model,
        comm=comm,
        interval=INTERVAL,
    )  # fmt: skip
    batches = BatchSampler(
        data.user, data.item, case.n_items, batch_size=case.batch_size, negatives=case.negatives, shared=case.shared,
        known=Csr.of(data.user, data.item, case.n_users), seed=3, rank=comm.rank, workers=comm.size,
    )  # fmt: skip
    return step, batches


def _same(batch: Batch) -> Batch:
    return batch


def run_case(cached: CachedCase, comm: Comm, inner_group: dist.ProcessGroup | None) -> dict[str, Any]:
    """Losses, g_Z of the touched rows as a whole matrix, weights, theta and Z after 20 steps; bytes of every step."""
    case = cached.case
    step, batches = build(cached, make_data(case), comm, inner_group)
    model, z = step.cached, step.z
    steps: list[dict[str, Any]] = []
    for count in range(STEPS):
        batch = batches.batch(0, count)
        outer = batches.batch(0, count + 1) if case.outer == "next" else batch
        comm.sent.clear()
        record = step(count, batch, partial(_same, outer))
        entry: dict[str, Any] = {"sent": Counter(comm.sent), "sizes": [b - a for a, b in batch.slices]}
        loss = record.loss if cached.train_theta else record.outer_loss
        assert loss is not None
        values = {"loss": comm.all_reduce_sum(loss, "test"), "weights": record.weights, "fit": model.explained}
        if record.g_z is not None and isinstance(step.z_optimizer, LazyAdam):
            g = torch.zeros_like(z).index_copy_(0, step.z_optimizer.rows, record.g_z)
            values["g_z"] = gather(g, case.n_items, comm)
        entry["values"] = {name: v.detach().clone() for name, v in values.items() if v is not None}
        entry["nodes"] = nodes_of(model, comm)
        steps.append(entry)
    theta = torch.cat([step.theta[name].detach().reshape(-1) for name in sorted(step.theta)])
    return {"steps": steps, "theta": theta, "Z": gather(z, case.n_items, comm)}


def nodes_of(model: CachedAlphaRec, comm: Comm) -> dict[str, Any]:
    """Sizes of the last step's first batch that its bytes depend on."""
    nodes: Any = model._fits[0][1].nodes
    return {
        "counts": nodes.counts,
        "users": comm.gather_objects(len(nodes.users)),
        "from": nodes.drawn.n_from,
        "to": nodes.drawn.n_to,
    }


def run_all(comm: Comm, inner_group: dist.ProcessGroup | None) -> dict[str, dict[str, Any]]:
    """Every case."""
    return {name: run_case(case, comm, inner_group) for name, case in CASES.items()}


def worker(rank: int, size: int, folder: str) -> None:
    """Entry point of a spawned process; writes `<folder>/<rank>.pt`."""
    torch.set_num_threads(1)
    limit = timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=size, timeout=limit)
    results = run_all(Comm(dist.group.WORLD), dist.new_group())
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def bytes_of(case: CachedCase, size: int, rank: int, step: dict[str, Any], groups: int | None) -> dict[str, int]:
    """What a worker sends in a step between refreshes, in float64, of a case whose two levels see one batch.

    An all-reduce sends 2 (W - 1) / W of its payload (comm.py). f = 2 k + 1 features; theta has t numbers.
    """
    c, nodes, s = case.case, step["nodes"], 8
    passes = forward_backward(case, groups)
    f = 2 * c.k + 1

    def reduced(numbers: int) -> int:
        return 2 * (size - 1) * s * numbers // size

    theta = c.k * c.d if c.projector == "linear" else (c.d + 1) * c.h + (c.h + 1) * c.k
    mine, every = nodes["counts"][rank], sum(nodes["counts"])
    sent = {
        "rows": passes["forward"] * (size - 1) * mine * c.k * s + passes["backward"] * (every - mine) * c.k * s,
        "fit": reduced(f * f) + (passes["forward"] + passes["backward"]) * reduced((f + 1) * c.k),
        "theta": case.train_theta * reduced(theta),
        "v": case.train_z * reduced(theta),
    }
    if case.train_z and c.users != "frozen":
        told = (size - 1) * nodes["users"][rank] * PER * 8
        gradients = (sum(nodes["from"]) - nodes["from"][rank]) * c.d * s
        sent["history"] = told + passes["by z"] * gradients
    if groups is not None:
        sent["gram"] = reduced(groups) + reduced(groups * theta)
    return {tag: n for tag, n in sent.items() if n}


def forward_backward(case: CachedCase, groups: int | None) -> dict[str, int]:
    """Passes of a finite-difference step: inner, outer, two perturbed; with new weights one more, back once a group."""
    forward = case.train_theta + case.train_z + 2 * (case.train_z and case.train_theta)
    found = {"forward": forward, "backward": forward, "by z": case.train_z + 2 * (case.train_z and case.train_theta)}
    if groups is not None:
        found["forward"] += 1
        found["backward"] += groups
    return found


def distance(a: Tensor, b: Tensor) -> float:
    """Relative, in the Euclidean norm."""
    return float((a - b).norm() / b.norm().clamp(min=1e-12))
