"""What the benchmarks of the training step share: data in several shapes, the project's own step on them, a record."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from bifair_dist.benchmark.catalogue import GROUPS, Pairs, synthetic_pairs, unit_rows
from bifair_dist.benchmark.problem import make_problem, make_step

__all__ = [
    "GROUPS",
    "ROOT",
    "Pairs",
    "commit",
    "machine",
    "make_problem",
    "make_step",
    "real_pairs",
    "record",
    "synthetic_pairs",
    "unit_rows",
]

ROOT = Path(__file__).resolve().parents[1]


def real_pairs(dataset: str | Path, group: str = "genre") -> Pairs:
    """Training pairs of a dataset folder."""
    from bifair_dist.catalog.dataset import read_dataset  # pyarrow stays out of the memory benchmark

    data = read_dataset(dataset)
    table = data.groups[group]
    index, groups = torch.from_numpy(table.entity_index), torch.from_numpy(table.group_index)
    user, item = torch.from_numpy(data.train.user), torch.from_numpy(data.train.item)
    return Pairs(user, item, data.n_users, data.n_items, index, groups, len(table.labels))


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
