"""Cached steps, their average and a ranking in a process that may have so many MiB beside its libraries and no more."""

from __future__ import annotations

import resource
import sys
from functools import partial

import torch

from benchmarks.catalogue import synthetic_pairs, unit_rows
from benchmarks.problem import make_problem, make_step
from benchmarks.record import memory
from bifair_dist.model.refresh import InBlocks
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.settings import override
from bifair_dist.training.lazy_averaging import LazyAverage
from bifair_dist.training.settings import TrainSettings

ITEMS, USERS, PAIRS, WIDTH = 40_000, 4_000, 60_000, 1024
Z = 4 * ITEMS * WIDTH


def main(where: str, mib: int) -> None:
    """Prints a sum over Z after 5 steps, and the largest resident memory without mapped files."""
    torch.set_num_threads(1)
    settings = override(
        TrainSettings(),
        {"model.propagation": "cached", "model.z_device": where, "cached.interval": 3, "training.batch_size": 256,
         "bilevel.outer_data": "same", "model.hidden": 32, "model.embedding_dim": 8},
    )  # fmt: skip
    problem = make_problem(synthetic_pairs(USERS, ITEMS, PAIRS), settings, Comm())
    torch.mm(*torch.ones(2, 64, 64))  # what torch allocates once is there
    limit = memory("VmData") + mib * 2**20  # private memory that can be written to; a mapped file is shared
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    z = problem.tables.zeros((ITEMS, WIDTH), torch.float32)
    for at in range(0, ITEMS, 1000):
        z[at : at + 1000] = unit_rows(1000, WIDTH, at)
    step, sampler = make_step(problem, z)
    assert isinstance(step.z_optimizer, LazyAdam) and isinstance(problem.ranking_model, InBlocks)
    average = LazyAverage(20.0, step.theta, z, step.z_optimizer)
    for count in range(5):
        batch = sampler.batch(0, count)
        step(count, batch, partial(sampler.batch, 0, count))
        average.update()
    problem.ranking_model.ranking_rows(*average.averaged)
    print(float(sum(part.double().square().sum() for part in z.split(1000))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
