"""What held-out pairs cost: a fair step with the fold against one on the inner level's own batch, in CPU time.

    python -m benchmarks.fold_cost DATASET REPRESENTATIONS [ROUNDS]

Each round takes a whole epoch of either, in turn: dealing the fold, its graph and samplers are in the time. Prints the
row of benchmarks/results/step_speed.md. Required: at most 1.25 times.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial

import torch

from bifair_dist.parallel.comm import Comm
from bifair_dist.settings import override
from bifair_dist.training.folds import Folds
from bifair_dist.training.phases import phases_of
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.steps import State, build_step, epoch_key, outer_batch, use_pairs


def epoch_seconds(problem: Problem, epoch: int) -> float:
    """CPU seconds a step of one fair epoch, all that the epoch sets up included."""
    phase = phases_of(problem.settings)[-1]
    z = problem.first_z()
    step = build_step(phase, problem, State(problem.first_theta(z.shape[1]), z))
    folds = Folds(problem, problem.fixed_from) if problem.settings.folded else None
    start = time.process_time()
    if folds is not None:
        problem = folds.in_epoch(epoch)
        use_pairs(step, problem, phase, fresh=True)
    steps = problem.sampler.steps_per_epoch
    for s in range(steps):
        batch = problem.sampler.batch(epoch_key(epoch, phase), s)
        step(s, batch, partial(outer_batch, problem, batch, epoch, s, phase))
    return (time.process_time() - start) / steps


def main(dataset: str, representations: str, rounds: int = 5) -> None:
    """Print the row."""
    torch.set_num_threads(1)
    data = {"data.dataset": dataset, "data.representations": representations}
    problems = {
        outer: load_problem(
            override(TrainSettings(), {**data, "bilevel.outer_data": outer}), Comm(), torch.device("cpu")
        )
        for outer in ("same", "fold")
    }
    for problem in problems.values():  # what is made once for all epochs is made before
        epoch_seconds(problem, 0)
    times = [{outer: epoch_seconds(problem, r) for outer, problem in problems.items()} for r in range(1, rounds + 1)]
    same, fold = (1000 * statistics.median(t[outer] for t in times) for outer in ("same", "fold"))
    ratios = sorted(t["fold"] / t["same"] for t in times)
    first = problems["same"].dataset
    print(
        f"| {first.n_users:,} | {first.n_items:,} | {len(first.train):,} | {same:.0f} | {fold:.0f} | "
        f"**{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
