"""A worker that takes real steps under several settings and writes down what `Comm` counted."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.catalogue import synthetic_pairs
from benchmarks.problem import make_problem, make_step, random_rows
from bifair_dist.cost.cached import Nodes
from bifair_dist.model.batch import Batch
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.comm import Comm
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

ITEMS, USERS, PAIRS, WIDTH, STEPS, INTERVAL = 101, 57, 700, 24, 3, 2
CASES: dict[str, dict[str, object]] = {
    "defaults": {"training.batch_size": 150},
    "pooled first": {"training.batch_size": 150, "model.hidden": 40},
    "frozen, linear": {"training.batch_size": 90, "model.users": "frozen", "model.projector": "linear"},
    "exact, two inner steps": {
        "training.batch_size": 150,
        "bilevel.hypergradient": "exact",
        "bilevel.inner_steps": 2,
        "balance.refresh": 2,
    },
    "base phase, pooled once": {"training.method": "alpharec", "training.batch_size": 150, "model.hidden": 40},
    "theta only": {"training.method": "theta_only", "training.batch_size": 150, "balance.refresh": 2},
    "theta only, ips": {"training.method": "theta_only", "training.batch_size": 150, "balance.rule": "ips"},
    "separate": {"training.method": "separate", "training.batch_size": 150, "balance.refresh": 2},
    "bifair, ips": {"training.batch_size": 150, "balance.rule": "ips"},
    "mf": {"training.method": "mf", "training.batch_size": 150},
    "mf, bpr": {
        "training.method": "mf",
        "model.loss": "bpr",
        "model.negative_sampling": "per_example",
        "training.batch_size": 90,
    },
    "lightgcn": {"training.method": "lightgcn", "training.batch_size": 150},
    "lightgcn, bpr": {
        "training.method": "lightgcn",
        "model.loss": "bpr",
        "model.num_negatives": 1,
        "training.batch_size": 150,
        "model.negative_sampling": "per_example",
        "model.dtype": "float64",
    },
    "lightgcn without l2": {"training.method": "lightgcn", "model.l2": 0.0, "training.batch_size": 90},
    "alpharec, float64": {"training.method": "alpharec", "model.dtype": "float64", "training.batch_size": 150},
}
CACHED = {
    "model.propagation": "cached",
    "cached.interval": INTERVAL,
    "cached.finish_interval": INTERVAL,
    "training.batch_size": 150,
}
CACHED_CASES: dict[str, dict[str, object]] = {
    "defaults": {"balance.refresh": 2},
    "pooled in two blocks": {},
    "weights of the inner batch, same": {"balance.losses": "inner", "bilevel.outer_data": "same"},
    "exact, two inner steps": {"bilevel.hypergradient": "exact", "bilevel.inner_steps": 2},
    "frozen, linear, float64": {"model.users": "frozen", "model.projector": "linear", "model.dtype": "float64"},
    "alpharec": {"training.method": "alpharec"},
    "base phase, pooled once": {"training.method": "alpharec", "model.hidden": 40},
    "theta only": {"training.method": "theta_only"},
    "separate, per example": {
        "training.method": "separate",
        "model.negative_sampling": "per_example",
        "training.batch_size": 30,
    },
}
CASES |= {f"cached, {name}": CACHED | case for name, case in CACHED_CASES.items()}


def width_of(name: str) -> int:
    """Columns of Z."""
    return 70 if "two blocks" in name else WIDTH


def settings_of(name: str) -> TrainSettings:
    """Small widths; the rest as they are unless the case tells otherwise."""
    small = {"model.hidden": 16, "model.embedding_dim": 7, "model.num_negatives": 11}
    return override(TrainSettings(), {**small, **CASES[name]})


def _same(batch: Batch) -> Batch:
    return batch


def nodes_of(step: CachedStep, comm: Comm) -> list[Nodes]:
    """Of each batch of the last step."""
    found: list[Any] = [fit.nodes for _, fit in step.cached._fits]
    mine = [(len(n.users), len(n.items), sum(n.drawn.n_from) - n.drawn.n_from[comm.rank]) for n in found]
    every = comm.gather_objects(mine)
    return [Nodes(*zip(*(rank[i] for rank in every), strict=True)) for i in range(len(mine))]


def worker(rank: int, folder: str) -> None:
    """Writes `<folder>/<rank>.pt`: for each case the bytes and calls by tag of each step, and its batches' nodes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    comm, inner = Comm(dist.group.WORLD), dist.new_group()
    found = {}
    for name in CASES:
        settings = settings_of(name)
        pairs = synthetic_pairs(USERS, ITEMS, PAIRS)
        problem = make_problem(pairs, settings, comm)
        step, sampler = make_step(problem, random_rows(problem, ITEMS, width_of(name)), inner)
        steps = []
        for count in range(STEPS):
            batch = sampler.batch(0, count)
            comm.sent.clear()
            comm.calls.clear()

            own = isinstance(step, CachedStep) and settings.outer_data != "same"
            outer = sampler.batch(0, count + 1) if own else batch
            step(count, batch, partial(_same, outer))
            sent, calls = dict(comm.sent), dict(comm.calls)
            steps.append((sent, calls, nodes_of(step, comm) if isinstance(step, CachedStep) else []))
        found[name] = steps
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
