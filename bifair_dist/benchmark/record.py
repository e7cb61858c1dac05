"""Commit, hardware, versions and load: what heads every measured result."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from bifair_dist.commit import ROOT, commit

__all__ = ["ROOT", "commit", "machine", "record"]


def machine() -> str:
    """Processor, cores and memory in words."""
    model = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model n")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def record(paths: list[str], threads: str, load: tuple[float, float, float]) -> list[str]:
    """Lines on commit, hardware, versions and load that head a result; `load` was read before the run."""
    now = os.getloadavg()
    return [
        f"- commit {commit(*paths)}, {datetime.now(UTC):%Y-%m-%d}; {machine()}; {threads}",
        f"- Python {platform.python_version()}, torch {torch.__version__}, {platform.system()} {platform.release()}",
        f"- load average (1, 5 min) before {load[0]:.1f}, {load[1]:.1f}; after {now[0]:.1f}, {now[1]:.1f}: "
        "what the benchmark itself adds is its number of threads",
    ]
