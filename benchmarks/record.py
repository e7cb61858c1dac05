"""What heads every measured result, tables as Markdown, and memory as the Linux kernel counts it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bifair_dist.commit import ROOT, commit

RESULTS = ROOT / "benchmarks" / "results"


def machine() -> str:
    """Processor, cores and memory in words."""
    model = platform.processor() or "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model n")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def record(paths: Iterable[str], threads: str, load: tuple[float, float, float]) -> list[str]:
    """Lines on commit, hardware, versions and load that head a result; `load` was read before the run."""
    now = os.getloadavg()
    return [
        f"- commit {commit(*paths)}, {datetime.now(UTC):%Y-%m-%d}; {machine()}; {threads}",
        f"- Python {platform.python_version()}, torch {version('torch')}, {platform.system()} {platform.release()}",
        f"- load average (1, 5 min) before {load[0]:.1f}, {load[1]:.1f}; after {now[0]:.1f}, {now[1]:.1f}: "
        "what the benchmark itself adds is its number of threads",
    ]


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, cells))} |" for cells in lines]


def write(path: Path, title: str, *blocks: Sequence[str]) -> str:
    """A result as Markdown: title and blocks of lines with blank lines between them, also returned."""
    text = "\n\n".join(["# " + title, *("\n".join(lines) for lines in blocks if lines)]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text


def memory(key: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS is now, VmHWM the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def reset_peak() -> None:
    """Let VmHWM start again from the present."""
    Path("/proc/self/clear_refs").write_text("5")
