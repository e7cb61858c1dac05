"""A plain LightGCN step beside AlphaRec's full and cached ones on the same pairs, in processor seconds of one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.lightgcn_side --items 20000 125000

Plain: LightGCN as it is usually written (id embeddings 64 wide, E [U + N, 64]; three layers of `torch.sparse.mm` with
the normalised adjacency, as RecBole has it; BPR on a batch of pairs with one negative each; dense Adam), so every step
propagates over all pairs, forward and back. Full and cached: the base phase's step (theta alone) and the bi-level one,
d = 256, two layers, 256 negatives. U = N / 2, E = 20 N, batches of 4,096; the least of a few steps. An epoch is its
steps times that (cached: and a refresh in every 64), computed and not run. Nothing is compared but time: the models
are others.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cached_gpu import INTERVAL, cached
from benchmarks.core import BATCH, Problem, Size
from benchmarks.gpu import PLAIN
from benchmarks.record import machine
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.commit import commit

DIM, LAYERS = 64, 3


def plain_step(problem: Problem) -> Callable[[], None]:
    """A step of plain LightGCN on the problem's pairs."""
    users, items, n_users = problem.pairs.user.long(), problem.pairs.item.long(), problem.size.users
    n = n_users + problem.size.items
    ends = torch.stack([torch.cat([users, items + n_users]), torch.cat([items + n_users, users])])
    scale = torch.bincount(ends[0], minlength=n).clamp(min=1).float().rsqrt()
    adjacency = torch.sparse_coo_tensor(ends, scale[ends[0]] * scale[ends[1]], (n, n)).coalesce()
    embeddings = torch.nn.Parameter(0.1 * torch.randn(n, DIM, generator=torch.Generator().manual_seed(0)))
    adam = torch.optim.Adam([embeddings], 1e-3)
    rng = torch.Generator().manual_seed(1)

    def propagated() -> Tensor:
        total = x = embeddings
        for _ in range(LAYERS):
            x = torch.sparse.mm(adjacency, x)
            total = total + x
        return total / (LAYERS + 1)

    def once() -> None:
        at = torch.randint(len(users), (BATCH,), generator=rng)
        negatives = torch.randint(problem.size.items, (BATCH,), generator=rng)
        out = propagated()
        u, plus, minus = out[users[at]], out[items[at] + n_users], out[negatives + n_users]
        loss = -F.logsigmoid((u * (plus - minus)).sum(1)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    return once


def own_step(problem: Problem, step: BilevelStep) -> Callable[[], object]:
    """A step of this project without new weights."""
    drawn = iter(range(10**9))

    def once() -> object:
        batch = problem.sampler.batch(0, next(drawn))
        return step(PLAIN, batch, lambda: batch)

    return once


def least(work: Callable[[], object], times: int) -> float:
    """Processor seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def measure(problem: Problem, times: int) -> None:
    """Prints a line for each way."""
    steps = -(-problem.size.pairs // BATCH)

    def line(name: str, step: Callable[[], object], refresh: float = 0.0) -> None:
        seconds = least(step, times)
        epoch = steps * (seconds + refresh / INTERVAL)
        size = f"{problem.size.items:,} | {problem.size.pairs:,}"
        print(f"| {size} | {name} | {seconds:.3f} | {epoch / 60:,.1f} min |", flush=True)

    line("plain LightGCN", plain_step(problem))
    line("full, theta", own_step(problem, problem.step(bilevel=False)))
    line("full, bi-level", own_step(problem, problem.step()))
    step = cached(problem, bilevel=True)
    refresh = least(lambda: step.cached.refresh(step.theta, step.z), times)
    line("cached, bi-level", own_step(problem, step), refresh)
    line("cached, theta", own_step(problem, cached(problem, bilevel=False)), refresh)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 125_000])
    parser.add_argument("--times", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"commit {commit()}; {machine()}; Python {platform.python_version()}, torch {torch.__version__}", flush=True)
    print("| N | E | | a step, s | an epoch |\n|---|---|---|---|---|")
    for n in args.items:
        measure(Problem.generate(Size(n // 2, n, 20 * n, 256), torch.device("cpu")), args.times)


if __name__ == "__main__":
    main()
