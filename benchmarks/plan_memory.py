"""Planned memory (`jobs/train.py --plan`) against the measured peak of each worker: BiFair on five shapes, ids on two.

    python benchmarks/plan_memory.py       (15 minutes on 2 idle cores, 4 GB; writes results/plan_memory.md)
    python benchmarks/plan_memory.py --shape bifair,3000,900,20000,48,512,1,32 --result /tmp/small.md

Workers as in `memory.py`: steps on power-law pairs, VmHWM from the start of the set-up on. All settings are
defaults but batch, h and `balance.refresh` 2: the widest moment may be that of new weights with Adam's moments in
place, which in a training comes with the eleventh step. Six steps: with blocks kept, peaks still grew after the third
(at N = 20,000 by 1 to 3 % up to the fifth, and no further up to the eighth).

Every shape is measured twice: with MALLOC_MMAP_THRESHOLD_=1048576, under which glibc returns blocks of 1 MiB and more
as they are freed, so that a worker's memory is what it holds; and as it is, where glibc keeps blocks up to 32 MiB.
Exit code 1 where a worker is more than 15 % off in either.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import GROUPS, ROOT, record
from memory import Size, measure

from bifair_dist.config import TrainSettings, override
from bifair_dist.planning.memory import BASE, parts, total
from bifair_dist.planning.work import Sizes, Work, work_of
from bifair_dist.training.phases import phases_of

SHAPES = (  # method, N, U, E, d (nothing to id embeddings, nor h), batch, W, h
    "bifair,60000,20000,600000,512,4096,2,256",
    "bifair,100000,50000,1000000,256,4096,1,256",
    "bifair,30000,120000,2000000,128,8192,2,256",
    "bifair,40000,10000,400000,1024,2048,1,256",
    "bifair,20000,10000,200000,384,4096,2,1024",
    "mf,200000,100000,2000000,64,4096,1,256",
    "mf,300000,200000,2000000,64,4096,2,256",
    "lightgcn,200000,100000,2000000,64,4096,1,256",
    "lightgcn,300000,200000,2000000,64,4096,2,256",
)
STEPS = 6
ALLOWED = 0.15
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Shape:
    """A method on N items, U users and E pairs, vectors of d columns, W workers."""

    method: str
    size: Size
    batch: int
    workers: int
    hidden: int


def shape_of(text: str) -> Shape:
    method, *numbers = text.split(",")
    try:
        n, u, e, d, batch, workers, hidden = map(int, numbers)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not METHOD,N,U,E,d,batch,W,h") from None
    return Shape(method, Size(n, u, e, d), batch, workers, hidden)


def settings_of(shape: Shape) -> TrainSettings:
    changed = {"training.method": shape.method, "training.batch": shape.batch, "model.hidden": shape.hidden}
    return override(TrainSettings(), {**changed, "balance.refresh": 2})


def planned(shape: Shape) -> Work:
    settings, size = settings_of(shape), shape.size
    n, u, e, d = size.items, size.users, size.pairs, size.width
    sizes = Sizes(items=n, users=u, pairs=e, width=d, groups=GROUPS)
    return work_of(settings, sizes, phases_of(settings)[-1], shape.workers)


def row(shape: Shape, keeps: bool, rank: int, worker: dict[str, Any]) -> tuple[str, float]:
    """A line of the table, and measured over planned."""
    data = total(parts(planned(shape), keeps=keeps))
    peak = max(found["peak"] for found in worker["rows"])
    ratio, above = peak / (data + BASE), (peak - worker["start"]) / data
    size, ids = shape.size, shape.method in ("mf", "lightgcn")
    cells = [shape.method, f"{size.items:,}", f"{size.users:,}", f"{size.pairs:,}"]
    cells += ["", ""] if ids else [f"{size.width:,}", f"{shape.hidden:,}"]
    cells += [f"{x:,}" for x in (shape.batch, shape.workers, rank)]
    cells += ["kept" if keeps else "returned", f"{(data + BASE) / MIB:,.0f}", f"{peak / MIB:,.0f}"]
    cells += [f"**{ratio:.2f}**", f"{above:.2f}", f"{worker['rows'][-1]['seconds']:.1f}"]
    return f"| {' | '.join(cells)} |", ratio


def measured(shape: Shape, keeps: bool) -> list[dict[str, Any]]:
    """What each worker wrote; glibc reads the variable when a process starts."""
    if not keeps:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(MIB)
    try:
        return measure(shape.size, STEPS, shape.workers, settings_of(shape))
    finally:
        os.environ.pop("MALLOC_MMAP_THRESHOLD_", None)


def verdict(name: str, ratios: list[float]) -> str:
    met = all(abs(ratio - 1) <= ALLOWED for ratio in ratios)
    text = f"- {name}: measured over planned {min(ratios):.2f} to {max(ratios):.2f}; within 15 %: "
    return text + ("met" if met else "**missed**")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--shape", type=shape_of, action="append", metavar="METHOD,N,U,E,d,batch,W,h", help="may be repeated"
    )
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "plan_memory.md")
    args = parser.parse_args()
    shapes: list[Shape] = args.shape or [shape_of(text) for text in SHAPES]
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
        "s: seconds of the last step; on a shared machine they say little.",
        "",
        "| method | N | U | E | d | h | batch | W | worker | freed | plan, MiB | measured | ratio | above start | s |",
        f"|{'---|' * 15}",
        *rows,
        "",
        "Parts planned, MiB:",
        "",
    ]
    for shape in shapes:
        found = ", ".join(f"{p.name} {p.n_bytes / MIB:,.0f}" for p in parts(planned(shape), keeps=True))
        lines.append(f"- {shape.method}, N = {shape.size.items:,}, W = {shape.workers}: {found}")
    args.result.parent.mkdir(parents=True, exist_ok=True)
    args.result.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any("missed" in line for line in verdicts))


if __name__ == "__main__":
    sys.exit(main())
