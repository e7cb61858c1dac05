"""What the benchmarks of the training step share: data in several shapes, the project's own step on them, a record."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.config.train import TrainSettings
from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import init_theta, widths
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.training.phases import phases_of
from bifair_dist.training.problem import Problem
from bifair_dist.training.steps import State, build_step

ROOT = Path(__file__).resolve().parents[1]
GROUPS = 9


@dataclass(frozen=True, slots=True)
class Pairs:
    """Training pairs int64 [E] of U users and N items, and the groups of the items."""

    user: Tensor
    item: Tensor
    n_users: int
    n_items: int
    item_of_group: Tensor
    group: Tensor
    n_groups: int


def real_pairs(dataset: str | Path, group: str = "genre") -> Pairs:
    """Training pairs of a dataset folder."""
    from bifair_dist.catalog.dataset import read_dataset  # pyarrow stays out of the memory benchmark

    data = read_dataset(dataset)
    table = data.groups[group]
    index, groups = torch.from_numpy(table.entity_index), torch.from_numpy(table.group_index)
    user, item = torch.from_numpy(data.train.user), torch.from_numpy(data.train.item)
    return Pairs(user, item, data.n_users, data.n_items, index, groups, len(table.labels))


def synthetic_pairs(n_users: int, n_items: int, n_pairs: int, seed: int = 0) -> Pairs:
    """About `n_pairs` distinct pairs with power-law degrees (exponents 0.4 and 0.7), one of 9 uneven groups an item."""
    rng = torch.Generator().manual_seed(seed)

    def skewed(n: int, power: float, size: int) -> Tensor:
        share = torch.arange(1, n + 1, dtype=torch.float64).pow(-power).cumsum(0)
        rank = torch.searchsorted(share, torch.rand(size, generator=rng, dtype=torch.float64) * share[-1])
        return torch.randperm(n, generator=rng)[rank.clamp(max=n - 1)]

    keys = torch.empty(0, dtype=torch.int64)
    while len(keys) < n_pairs:  # duplicates are drawn again
        more = int(1.2 * (n_pairs - len(keys))) + 1
        drawn = skewed(n_users, 0.4, more) * n_items + skewed(n_items, 0.7, more)
        keys = torch.unique(torch.cat([keys, drawn]))
    keys = keys[torch.randperm(len(keys), generator=rng)[:n_pairs]].sort().values
    group = (torch.rand(n_items, generator=rng).square() * GROUPS).long()
    return Pairs(keys // n_items, keys % n_items, n_users, n_items, torch.arange(n_items), group, GROUPS)


def unit_rows(rows: int, d: int, seed: int) -> Tensor:
    """Random rows of length 1, [rows, d], made in place."""
    z = torch.empty(rows, d).normal_(generator=torch.Generator().manual_seed(seed))
    return F.normalize(z, dim=1, out=z)


def make_problem(pairs: Pairs, settings: TrainSettings, comm: Comm) -> Problem:
    """As `bifair_dist.training.problem.load_problem`, from pairs in memory."""
    graph = build_graph(pairs.user, pairs.item, pairs.n_users, pairs.n_items)
    model = AlphaRec(graph, Sharded(comm), settings.model.layers, settings.model.tau)
    known = Csr.of(pairs.user, pairs.item, pairs.n_users) if settings.model.exclude_known else None
    sampler = BatchSampler(
        pairs.user, pairs.item, pairs.n_items, batch_size=settings.training.batch, negatives=settings.model.negatives,
        shared=settings.model.negative_sampling == "shared", known=known, seed=settings.training.seed,
        rank=comm.rank, workers=comm.size,
    )  # fmt: skip
    membership = None
    if settings.training.method != "alpharec":
        membership = Membership.of("item", pairs.item_of_group, pairs.group, pairs.n_items, pairs.n_groups)
    return Problem(
        settings=settings,
        dataset=cast(Any, None),  # the step does not read it
        comm=comm,
        device=torch.device("cpu"),
        model=model,
        ranking_model=model,
        sampler=sampler,
        outer_sampler=None,
        membership=membership,
    )


def make_step(
    problem: Problem, z: Tensor, inner_group: dist.ProcessGroup | None = None
) -> tuple[BilevelStep, BatchSampler]:
    """The step of the method's last phase on a fresh projector; moves `z` where the phase does."""
    model, training = problem.settings.model, problem.settings.training
    phase = phases_of(problem.settings)[-1]
    theta = init_theta(z.shape[1], model.hidden, model.output, model.projector, training.seed)
    d, h, _ = widths(theta)
    if not phase.train_z and h > d:  # as Trainer does
        problem = problem.with_fixed_users(z)
    return build_step(phase, problem, State(theta, z), inner_group), problem.sampler


def machine() -> str:
    """Processor, cores and memory in words."""
    model = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model n")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def commit(*paths: str) -> str:
    """Short hash of HEAD, marked where `paths` differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", *paths)
    return git("rev-parse", "--short", "HEAD").strip() + (" with changes" if changed else "")


def record(paths: list[str], threads: str, load: tuple[float, float, float]) -> list[str]:
    """Lines on commit, hardware, versions and load that head a result; `load` was read before the run."""
    now = os.getloadavg()
    return [
        f"- commit {commit(*paths)}, {datetime.now(UTC):%Y-%m-%d}; {machine()}; {threads}",
        f"- Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.release()}",
        f"- load average (1, 5 min) before {load[0]:.1f}, {load[1]:.1f}; after {now[0]:.1f}, {now[1]:.1f}: "
        "what the benchmark itself adds is its number of threads",
    ]
