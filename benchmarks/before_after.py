"""Our bi-level step in two trees of this repository, in turns: seconds as ratios, and that the losses are the same.

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before --shape 3370 2142 64757 384 256 [--shape ..]       (a minute a shape)

Each tree runs in a process of its own on the same generated catalogue, one thread; the processes take turns. A step is
the median of a turn's, new weights count with 1/10. Seconds are CPU time, which other jobs on the machine change less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

STEPS = 9
CHILD = """
import json, sys, time, statistics, torch
torch.set_num_threads(1)
from bifair_dist.benchmark.catalogue import synthetic_pairs, unit_rows
from bifair_dist.benchmark.problem import make_problem, make_step
from bifair_dist.config.model import ModelSettings
from bifair_dist.config.train import TrainSettings
from bifair_dist.config.training import TrainingSettings
from bifair_dist.parallel.comm import Comm
u, n, e, d, h, steps = map(int, sys.argv[1:])
settings = TrainSettings(model=ModelSettings(hidden=h), training=TrainingSettings(method="bifair"))
step, sampler = make_step(make_problem(synthetic_pairs(u, n, e), settings, Comm()), unit_rows(n, d, 0))
seconds, losses = [], []
for count in range(steps + 2):  # 0 and 10 have new weights, the first two steps warm up
    start = time.process_time()
    batch = sampler.batch(0, count)
    losses.append(float(step(count, batch, lambda: batch).loss))
    seconds.append(time.process_time() - start)
plain = statistics.median(seconds[2:10])
print(json.dumps({"seconds": plain + (seconds[10] - plain) / 10, "losses": losses}))
"""


def run(tree: Path, shape: list[int]) -> dict:
    """A turn of the tree's step."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, *map(str, [*shape, STEPS])]
    # From its own folder: Python looks there first.
    done = subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("before", type=Path, help="the other tree")
    parser.add_argument("--shape", type=int, nargs=5, action="append", required=True, metavar=("U", "N", "E", "d", "h"))
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    print("| U | N | E | d | h | ms before | ms after | after / before (range of turns) | largest gap of a loss |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in args.shape:
        before: list[dict] = []
        after: list[dict] = []
        for turn in range(args.turns):
            pair = [(args.before.resolve(), before), (here, after)]
            for tree, results in pair if turn % 2 == 0 else reversed(pair):
                results.append(run(tree, shape))
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(after, before, strict=True)]
        gap = max(abs(a / b - 1) for a, b in zip(after[0]["losses"], before[0]["losses"], strict=True))
        ms = [f"{1e3 * statistics.median(r['seconds'] for r in results):.0f}" for results in (before, after)]
        spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {' | '.join(f'{x:,}' for x in shape)} | {ms[0]} | {ms[1]} | {spread} | {gap:.0e} |", flush=True)


if __name__ == "__main__":
    main()
