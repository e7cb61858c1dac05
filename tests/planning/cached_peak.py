"""A worker that takes cached steps through two refreshes and prints its peak beside the planned one, in bytes."""

from __future__ import annotations

import sys
from functools import partial

import torch

from benchmarks.catalogue import GROUPS, synthetic_pairs
from benchmarks.problem import make_problem, make_step, random_rows
from benchmarks.record import memory
from bifair_dist.cost.work import Sizes
from bifair_dist.parallel.comm import Comm
from bifair_dist.planning.memory import BASE, parts, total
from bifair_dist.settings import override
from bifair_dist.training.phases import phases_of
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.work import work_of


def main(method: str, items: int, users: int, n_pairs: int, width: int, keeps: bool) -> None:
    """Prints "measured planned"."""
    torch.set_num_threads(1)
    settings = override(
        TrainSettings(),
        {"model.propagation": "cached", "cached.interval": 3, "cached.finish_interval": 3, "training.method": method,
         "training.average": 0.0, "bilevel.outer_data": "same", "training.batch_size": 1024},
    )  # fmt: skip
    problem = make_problem(synthetic_pairs(users, items, n_pairs), settings, Comm())
    step, sampler = make_step(problem, random_rows(problem, items, width))
    for count in range(8):
        batch = sampler.batch(0, count)
        step(count, batch, partial(sampler.batch, 0, count))
    sizes = Sizes(items=items, users=users, pairs=n_pairs, width=width, groups=GROUPS)
    planned = total(parts(work_of(settings, sizes, phases_of(settings)[-1], 1), keeps=keeps))
    print(memory("VmHWM"), planned + BASE)


if __name__ == "__main__":
    items, users, n_pairs, width = map(int, sys.argv[2:6])
    main(sys.argv[1], items, users, n_pairs, width, sys.argv[6] == "kept")
