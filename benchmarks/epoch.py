"""One whole bi-level epoch on cached propagation, really run: every step of it, on some workers of this machine.

    OMP_NUM_THREADS=1 python -m benchmarks.epoch --output FOLDER                        1 M items, 2 workers, an hour
    python -m benchmarks.epoch --output FOLDER --items 3000 --width 32 --batch 512      here, seconds

U = N / 2, E = 20 N, generated data, random Z; the trainer's step with its refreshes and weights, the next batch as the
outer level's. Validation, running average and checkpoints are not in it. FOLDER/epoch.md is written anew every tenth of
the epoch, so that a run that is killed leaves what it had.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.catalogue import synthetic_pairs
from benchmarks.launch import run_processes
from benchmarks.problem import make_problem, make_step, random_rows
from benchmarks.record import memory, record, reset_peak, table, write
from bifair_dist.model.batch import Batch
from bifair_dist.parallel.cached_step import CachedStep
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.progress import Progress, duration
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

GROUPS = 9


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the epoch and write what it took."""
    about, _, usage = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=usage, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256, help="columns of the item vectors")
    parser.add_argument("--batch", type=int, default=4096, help="pairs of a step, over all workers")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    body = partial(epoch, given.items, given.width, given.batch, given.output, os.getloadavg())
    print(run_processes(body, given.workers, timeout=1800.0))


def epoch(
    items: int,
    width: int,
    batch_size: int,
    output: Path,
    load: tuple[float, float, float],
    comm: Comm,
    inner_group: dist.ProcessGroup | None,
    device: torch.device,
) -> str:
    """The body of a worker; the result as Markdown."""
    torch.set_num_threads(1)
    settings = override(
        TrainSettings(),
        {"model.propagation": "cached", "bilevel.outer_data": "next", "training.batch_size": batch_size},
    )
    start = time.perf_counter()
    pairs = synthetic_pairs(items // 2, items, 20 * items, settings.training.seed, GROUPS)
    problem = make_problem(pairs, settings, comm, device)
    del pairs
    step, sampler = make_step(problem, random_rows(problem, items, width), inner_group)
    assert isinstance(step, CachedStep)
    set_up, made = time.perf_counter() - start, memory("VmHWM")
    reset_peak()
    comm.gather_objects(None)

    steps = sampler.steps_per_epoch
    losses: list[float] = []
    seconds: dict[str, list[float]] = {"plain": [], "with new weights": [], "with a refresh": []}
    show = Progress("epoch", steps, "steps", every=30.0, quiet=comm.rank > 0)
    begin = time.perf_counter()
    text = ""
    for count in range(steps):
        at = time.perf_counter()
        batch = sampler.batch(0, count).to(device)
        outer = partial(_outer, sampler, count, device)
        losses.append(float(step(count, batch, outer).loss))
        refreshed = count % step.interval == 0
        weighed = step.balance is not None and step.balance.due(count)
        kind = "with a refresh" if refreshed else "with new weights" if weighed else "plain"
        seconds[kind].append(time.perf_counter() - at)
        show.update()
        if (count + 1) % max(steps // 10, 1) == 0 or count + 1 == steps:
            peaks = comm.gather_objects(memory("VmHWM"))
            setting = f"{items:,} items, {items // 2:,} users, {20 * items:,} pairs, d = {width}, B = {batch_size:,}"
            done, whole = count + 1, time.perf_counter() - begin
            lines = [
                f"- {setting}, {comm.size} workers of a thread each; set up in {duration(set_up)}",
                f"- **{done:,} of {steps:,} steps in {duration(whole)}**, {whole / done * 1e3:.0f} ms a step",
                f"- peak of a worker while it stepped: {max(peaks) / 2**30:.1f} GiB; while it drew pairs and made its "
                f"graph: {made / 2**30:.1f} GiB",
                f"- loss {statistics.mean(losses[:50]):.4f} over the first 50 steps, "
                f"{statistics.mean(losses[-50:]):.4f} over the last",
            ]
            rows = [
                [kind, len(found), f"{statistics.median(found):.3f}", f"{sum(found):.0f}"]
                for kind, found in seconds.items()
                if found
            ]
            about = record(["bifair_dist", "benchmarks"], "one thread a worker", load)
            kinds = table(["steps", "number", "median, s", "sum, s"], rows)
            if comm.rank == 0:
                text = write(output / "epoch.md", "A whole bi-level epoch on cached propagation", about, lines, kinds)
    show.finish()
    return text


def _outer(sampler: BatchSampler, number: int, device: torch.device) -> Batch:
    return sampler.batch(1, number).to(device)


if __name__ == "__main__":
    main()
