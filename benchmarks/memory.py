"""Peak memory of each worker in full bi-level steps on a large catalogue, against a bound by formula.

    python benchmarks/memory.py [--allocators]   (2 minutes on 2 idle cores, 8 GB; --allocators 2 more)
    python benchmarks/memory.py --items 20000 --users 5000 --pairs 200000 --result /tmp/small.md

Writes results/memory.md. N = 200,000 items, d = 1,024, two workers with one thread each on gloo, U = 50,000 users with
2,000,000 pairs of power-law degrees, all settings at their defaults. A worker's start is its resident memory before it
has any data, after one step on a few rows; its peak is the kernel's VmHWM, reset before each step. Records are kept as
long as the trainer keeps them. Exit code 1 where a peak is above the bound.

Bound in numbers of 4 bytes, unless said otherwise; m = ceil(N / W), u = ceil(U / W), k' = ceil(k / W), p' = ceil(h / W)
as h <= d, b = B / W, L layers:

    share       5 m d                            Z, its gradient, two Adam moments, a hypergradient buffer; times 1.3
    graph       3 E + 2 (U + N)                  CSR both ways, 4-byte indices, one array of ones; offsets, degrees
    sampler     28 E bytes + 8 U bytes           pairs and known items (int64), order of an epoch; 4 E from making them
    hidden      3 (m + u) h                      rows before and after LeakyReLU, and one gradient
    pooling     4 (N + U) p'                     hidden rows as columns, their gradient; one exchange, sent and received
    nodes       (2 + L) (U + N) k' + 2 (m + u) k columns: layers, their sum, a product; rows and their gradient
    loss        3 b (K + 1) + 3 (2 b + K) k      scores, exponentials, gradient; rows of the batch, normalised, gradient
    theta       (8 + 2 G) |theta|                parameters, gradient, moments, DDP's bucket, v, theta', theta+-; g_k

Hidden rows to loss is what one pass holds at its widest: torch's profiler counted 198 to 209 MiB alive where these four
parts come to 217 (N = 40,000, U = 10,000).
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import GROUPS, ROOT, Pairs, make_problem, make_step, random_rows, record, synthetic_pairs

from bifair_dist.benchmark.process_memory import memory, reset_peak
from bifair_dist.bilevel.step import StepRecord
from bifair_dist.config.train import TrainSettings
from bifair_dist.parallel.comm import Comm, shard_rows

WORKERS = 2
STEPS = 3
MIB = 2**20
FACTOR = 1.3


@dataclass(frozen=True, slots=True)
class Size:
    """N, U, E and d."""

    items: int
    users: int
    pairs: int
    width: int


def bound(size: Size, settings: TrainSettings, workers: int) -> dict[str, int]:
    """Bytes by part, as in the head of this file; `share` not yet times 1.3."""
    model, batch = settings.model, settings.training.batch // workers
    n, u_all, e, d, h, k = size.items, size.users, size.pairs, size.width, model.hidden, model.output
    m, u = shard_rows(n, workers), shard_rows(u_all, workers)
    p, kc = -(-min(d, h) // workers), -(-k // workers)
    theta = h * d + h + k * h + k
    return {
        "share": 4 * 5 * m * d,
        "graph": 4 * (3 * e + 2 * (u_all + n)),
        "sampler": 28 * e + 8 * u_all,
        "hidden": 4 * 3 * (m + u) * h,
        "pooling": 4 * 4 * (n + u_all) * p,
        "nodes": 4 * ((2 + model.layers) * (u_all + n) * kc + 2 * (m + u) * k),
        "loss": 4 * 3 * (batch * (model.negatives + 1) + (2 * batch + model.negatives) * k),
        "theta": 4 * (8 + 2 * GROUPS) * theta,
    }


def worker(rank: int, size: Size, folder: str, steps: int, workers: int, settings: TrainSettings) -> None:
    """Builds its part, takes `steps` steps and writes what it measured to `<folder>/<rank>.pt`."""
    torch.set_num_threads(1)
    comm, inner_group = Comm(), None
    if workers > 1:
        limit = timedelta(seconds=300)
        where = f"file://{folder}/init"
        dist.init_process_group("gloo", init_method=where, rank=rank, world_size=workers, timeout=limit)
        comm, inner_group = Comm(dist.group.WORLD), dist.new_group()
    # One step on a few rows first: torch.optim and DDP import 100 MiB of modules on first use, MKL takes its buffers.
    few = synthetic_pairs(50, 300, 1000)
    problem = make_problem(few, settings, comm)
    tiny, tiny_sampler = make_step(problem, random_rows(problem, 300, 16), inner_group)
    batch = tiny_sampler.batch(0, 0)
    tiny(0, batch, lambda: batch)
    del tiny, tiny_sampler, few, problem
    gc.collect()
    comm.gather_objects(None)  # everybody is here
    reset_peak()
    start = memory("VmRSS")
    pairs = Pairs(**torch.load(f"{folder}/pairs.pt"))
    problem = make_problem(pairs, settings, comm)
    del pairs
    step, sampler = make_step(problem, random_rows(problem, size.items, size.width), inner_group)
    del problem
    rows: list[dict[str, Any]] = [{"what": "set-up", "peak": memory("VmHWM"), "sent": {}, "seconds": 0.0}]
    result = StepRecord(torch.zeros(()))
    for count in range(steps):
        reset_peak()
        comm.sent.clear()
        begin = time.perf_counter()
        batch = sampler.batch(0, count)
        result = step(count, batch, lambda batch=batch: batch)
        assert float(result.loss) > 0 or result.g_theta == {}  # no inner level, no inner loss
        what = "step with new weights" if result.gram is not None else "step"
        result.g_z = None  # as the trainer does
        rows.append(
            {"what": what, "peak": memory("VmHWM"), "sent": dict(comm.sent), "seconds": time.perf_counter() - begin}
        )
    torch.save({"start": start, "rows": rows, "end": memory("VmRSS")}, f"{folder}/{rank}.pt")
    comm.gather_objects(None)
    if workers > 1:
        dist.destroy_process_group()


def measure(
    size: Size, steps: int, workers: int = WORKERS, settings: TrainSettings | None = None
) -> list[dict[str, Any]]:
    """What each worker wrote."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = synthetic_pairs(size.users, size.items, size.pairs)
        torch.save({name: getattr(pairs, name) for name in Pairs.__slots__}, f"{folder}/pairs.pt")
        del pairs
        arguments = (size, folder, steps, workers, settings or TrainSettings())
        mp.start_processes(worker, arguments, nprocs=workers, start_method="spawn")
        return [torch.load(f"{folder}/{rank}.pt") for rank in range(workers)]


def allocator_rows(size: Size) -> list[str]:
    """The same at half the size under other settings of glibc's allocator, as a table."""
    half = ["--items", str(size.items // 2), "--users", str(size.users // 2), "--pairs", str(size.pairs // 2)]
    command = [sys.executable, __file__, *half, "--width", str(size.width), "--steps", "2", "--only-peaks"]
    rows = [
        f"glibc's allocator, at half the size (N = {size.items // 2:,}), two steps:",
        "",
        "| environment | peaks above the start, MiB | seconds of the second step |",
        "|---|---|---|",
    ]
    for variable in ("", "MALLOC_ARENA_MAX=1", "MALLOC_MMAP_THRESHOLD_=8388608", "MALLOC_MMAP_THRESHOLD_=1048576"):
        name, _, value = variable.partition("=")
        environment = {**os.environ, **({name: value} if name else {})}
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
        rows.append(f"| {variable or 'as it is'} | {out} |")
    return [*rows, ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--allocators", action="store_true", help="also try settings of glibc's allocator")
    parser.add_argument("--only-peaks", action="store_true", help="print the peaks above the start, write nothing")
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "memory.md")
    args = parser.parse_args()
    size, load = Size(args.items, args.users, args.pairs, args.width), os.getloadavg()
    workers = measure(size, args.steps)
    peaks = [max(row["peak"] for row in w["rows"]) - w["start"] for w in workers]
    if args.only_peaks:
        print(" and ".join(f"{p / MIB:,.0f}" for p in peaks), f"| {workers[0]['rows'][-1]['seconds']:.1f}")
        return 0
    parts = bound(size, TrainSettings(), WORKERS)
    limit = FACTOR * parts["share"] + sum(b for name, b in parts.items() if name != "share")
    met = max(peaks) <= limit
    lines = report(size, workers, peaks, parts, limit, load)
    if args.allocators:
        lines += allocator_rows(size)
    text = "\n".join(lines).rstrip()
    print(text)
    args.result.parent.mkdir(parents=True, exist_ok=True)
    args.result.write_text(text + "\n", encoding="utf-8")
    return int(not met)


def report(
    size: Size, workers: list[dict[str, Any]], peaks: list[int], parts: dict[str, int], limit: float, load: Any
) -> list[str]:
    """The result as markdown."""
    tags = sorted(workers[0]["rows"][1]["sent"])
    paths = ["bifair_dist", "benchmarks/memory.py", "benchmarks/common.py"]
    starts = [w["start"] for w in workers]
    verdict = "met" if max(peaks) <= limit else "MISSED"
    lines = [
        "# Memory of a worker in bi-level steps",
        "",
        *record(paths, f"{WORKERS} workers, 1 thread each", load),
        f"- N = {size.items:,}, d = {size.width:,}, U = {size.users:,}, E = {size.pairs:,} (power law), G = {GROUPS};",
        "  gloo; settings at their defaults: h 256, k 64, batch 4,096, 256 shared negatives, users follow Z,",
        "  finite differences",
        "",
        f"**Peak above the start: {' and '.join(f'{p / MIB:,.0f}' for p in peaks)} MiB; bound {limit / MIB:,.0f} MiB:",
        f"{verdict}** ({max(peaks) / limit:.2f} of the bound). Starts: "
        f"{' and '.join(f'{b / MIB:,.0f}' for b in starts)} MiB.",
        "",
        "| part of the bound (formulas: head of `benchmarks/memory.py`) | MiB |",
        "|---|---|",
    ]
    for name, n_bytes in parts.items():
        shown = f"{name} {n_bytes / MIB:,.1f}, times {FACTOR}" if name == "share" else name
        lines.append(f"| {shown} | {n_bytes * (FACTOR if name == 'share' else 1) / MIB:,.1f} |")
    lines += [f"| **bound** | **{limit / MIB:,.1f}** |", ""]
    lines += [
        f"| worker 0 | peak above the start, MiB | seconds | MB (10^6) sent: {' / '.join(tags)} |",
        "|---|---|---|---|",
    ]
    for row in workers[0]["rows"]:
        sent = " / ".join(f"{row['sent'].get(tag, 0) / 1e6:,.1f}" for tag in tags) if row["sent"] else ""
        peak = (row["peak"] - workers[0]["start"]) / MIB
        lines.append(f"| {row['what']} | {peak:,.0f} | {row['seconds']:.1f} | {sent} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
