"""Planned memory (`jobs/train.py --plan`) against the measured peak of each worker, on five shapes.

    python benchmarks/plan_memory.py       (8 minutes on 2 idle cores, 4 GB; writes results/plan_memory.md)
    python benchmarks/plan_memory.py --shape 3000,900,20000,48,512,1,32 --result /tmp/small.md

Workers as in `memory.py`: bi-level steps on power-law pairs, VmHWM from the start of the set-up on. All settings are
defaults but batch, h and `balance.refresh` 2: the widest moment may be that of new weights with Adam's moments in
place, which in a training comes with the eleventh step.

Every shape is measured twice: with MALLOC_MMAP_THRESHOLD_=1048576, under which glibc returns blocks of 1 MiB and more
as they are freed, so that a worker's memory is what it holds; and as it is, where glibc keeps blocks up to 32 MiB.
Exit code 1 where a worker is more than 15 % off in either.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from common import GROUPS, ROOT, record
from memory import Size, measure

from bifair_dist.config import TrainSettings, override
from bifair_dist.planning.memory import BASE, parts, total
from bifair_dist.planning.work import Sizes, Work, work_of
from bifair_dist.training.phases import phases_of

SHAPES = (  # N, U, E, d, batch, W, h
    (60_000, 20_000, 600_000, 512, 4096, 2, 256),
    (100_000, 50_000, 1_000_000, 256, 4096, 1, 256),
    (30_000, 120_000, 2_000_000, 128, 8192, 2, 256),
    (40_000, 10_000, 400_000, 1024, 2048, 1, 256),
    (20_000, 10_000, 200_000, 384, 4096, 2, 1024),
)
STEPS = 3
ALLOWED = 0.15
MIB = 2**20
Shape = tuple[int, ...]


def settings_of(shape: Shape) -> TrainSettings:
    return override(TrainSettings(), {"training.batch": shape[4], "model.hidden": shape[6], "balance.refresh": 2})


def planned(shape: Shape) -> Work:
    settings, (n, u, e, d) = settings_of(shape), shape[:4]
    sizes = Sizes(items=n, users=u, pairs=e, width=d, groups=GROUPS)
    return work_of(settings, sizes, phases_of(settings)[-1], shape[5])


def row(shape: Shape, keeps: bool, rank: int, worker: dict[str, Any]) -> tuple[str, float]:
    """A line of the table, and measured over planned."""
    data = total(parts(planned(shape), keeps=keeps))
    peak = max(found["peak"] for found in worker["rows"])
    ratio, above = peak / (data + BASE), (peak - worker["start"]) / data
    n, u, e, d, batch, workers, h = shape
    cells = [f"{x:,}" for x in (n, u, e, d, h, batch, workers, rank)]
    cells += ["kept" if keeps else "returned", f"{(data + BASE) / MIB:,.0f}", f"{peak / MIB:,.0f}"]
    cells += [f"**{ratio:.2f}**", f"{above:.2f}", f"{worker['rows'][-2]['seconds']:.1f}"]
    return f"| {' | '.join(cells)} |", ratio


def measured(shape: Shape, keeps: bool) -> list[dict[str, Any]]:
    """What each worker wrote; glibc reads the variable when a process starts."""
    if not keeps:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(MIB)
    try:
        return measure(Size(*shape[:4]), STEPS, shape[5], settings_of(shape))
    finally:
        os.environ.pop("MALLOC_MMAP_THRESHOLD_", None)


def verdict(name: str, ratios: list[float]) -> str:
    met = all(abs(ratio - 1) <= ALLOWED for ratio in ratios)
    text = f"- {name}: measured over planned {min(ratios):.2f} to {max(ratios):.2f}; within 15 %: "
    return text + ("met" if met else "**missed**")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--shape", action="append", default=[], metavar="N,U,E,d,batch,W,h", help="may be repeated")
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "plan_memory.md")
    args = parser.parse_args()
    shapes: list[Shape] = [tuple(map(int, text.split(","))) for text in args.shape] or list(SHAPES)
    load = os.getloadavg()
    rows: list[str] = []
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for shape in shapes:
        for keeps in ratios:
            for rank, worker in enumerate(measured(shape, keeps)):
                line, ratio = row(shape, keeps, rank, worker)
                print(line, f"start {worker['start'] / MIB:.0f}", flush=True)
                rows.append(line)
                ratios[keeps].append(ratio)
    verdicts = [
        verdict("freed blocks returned (MALLOC_MMAP_THRESHOLD_=1048576)", ratios[False]),
        verdict("as it is (glibc keeps freed blocks up to 32 MiB)", ratios[True]),
    ]
    lines = [
        "# Planned memory against measured peaks",
        "",
        *record(["bifair_dist", "benchmarks/memory.py", "benchmarks/plan_memory.py"], "1 thread a worker, gloo", load),
        "",
        *verdicts,
        "",
        "Planned: the parts of `--plan` with its constant for Python and torch, without ids, titles and evaluation,",
        "which these workers do not hold. Measured: VmHWM. Above start: without the process before it has data.",
        "s: seconds of the step without new weights; on a shared machine they say little.",
        "",
        "| N | U | E | d | h | batch | W | worker | freed | planned, MiB | measured, MiB | ratio | above start | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Parts planned, MiB:",
        "",
    ]
    for shape in shapes:
        found = ", ".join(f"{p.name} {p.n_bytes / MIB:,.0f}" for p in parts(planned(shape), keeps=True))
        lines.append(f"- N = {shape[0]:,}, d = {shape[3]:,}, W = {shape[5]}: {found}")
    args.result.parent.mkdir(parents=True, exist_ok=True)
    args.result.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any("missed" in line for line in verdicts))


if __name__ == "__main__":
    sys.exit(main())
