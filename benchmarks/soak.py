"""A training on two Ray Train workers that is killed thirty times at random moments, against one that is left alone.

    python -m benchmarks.soak [--kills 30] [--seed 0]          (about 20 minutes on 2 cores; writes results/soak.md)

Random vectors for a generated catalogue of 600 items and 500 users, float64. A kill is SIGKILL to a worker (three in
four) or to the driver, whichever comes up, `--between` seconds (uniform) after the last one: in the middle of a step, a
checkpoint, a start. After the driver's death the same command is given again. Exit code 1 where the run does not end
with the numbers of the undisturbed one, which trains on one worker, to 1e-10.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.record import RESULTS, record, table, write
from bifair_dist.commit import ROOT
from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.representations import write_representations

SETTINGS = {
    "model.hidden": 32,
    "model.embedding_dim": 16,
    "model.dtype": "float64",
    "training.batch_size": 512,
    "training.average": 1,
    "training.max_epochs": 150,
    "training.bilevel_epochs": 150,
    "training.eval_every": 5,
    "training.patience": 100,
    "checkpoint.every": 20,
    "cluster.max_failures": -1,
    "tracking.enabled": "false",
}


def descendants(pid: int) -> dict[int, str]:
    """Command lines of the processes below `pid`."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return {p: names[p] for p in found if p in names}


class Soak:
    """The run that is killed. `seconds` bounds the wait between two kills."""

    def __init__(self, command: list[str], folder: Path, kills: int, seconds: tuple[float, float], seed: int) -> None:
        self.command, self.folder, self.kills, self.seconds = command, folder, kills, seconds
        self.random, self.done = random.Random(seed), Counter[str]()
        self.driver = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Give the command, for the first time or again."""
        self.done["drivers"] += 1
        with (self.folder.parent / "drivers.log").open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)

    def run(self) -> int:
        """Kill as often as asked, then wait for the end; the last driver's exit code."""
        while self.done["worker"] + self.done["driver"] < self.kills:
            time.sleep(self.random.uniform(*self.seconds))
            if (self.folder / "metrics.json").exists():
                break
            self.kill()
            print(f"{dict(self.done)}", flush=True)
        return self.driver.wait()

    def kill(self) -> None:
        """A worker, or the driver."""
        workers = [p for p, name in descendants(self.driver.pid).items() if "RayTrainWorker" in name]
        if workers and self.random.random() < 0.75:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(workers), signal.SIGKILL)
                self.done["worker"] += 1
        elif self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()
            self.done["driver"] += 1
            self.driver = self.start()
        else:
            self.driver = self.start()


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a JSON value but seconds, in order."""
    if isinstance(value, dict):
        value = [part for key, part in value.items() if not key.startswith("seconds")]
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def difference(one: Path, other: Path) -> dict[str, float]:
    """Largest absolute difference of Z, metrics and validations of two finished runs."""

    def figures(folder: Path) -> dict[str, np.ndarray]:
        parts = [pq.read_table(p)["vector"] for p in sorted((folder / "item_representations").glob("*.parquet"))]
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return {
            "Z": np.concatenate([np.stack(part.to_numpy()) for part in parts]),
            "metrics": np.array(list(numbers(json.loads((folder / "metrics.json").read_text())))),
            "validations": np.array(list(numbers(history))),
        }

    first, second = figures(one), figures(other)
    return {name: float(np.abs(first[name] - second[name]).max()) for name in first}


def main() -> int:
    """Both runs, then the comparison."""
    parser = argparse.ArgumentParser(description="A training that is killed at random moments.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--between", type=float, nargs=2, default=(8.0, 40.0), metavar="SECONDS")
    parser.add_argument("--result", type=Path, default=RESULTS / "soak.md")
    args = parser.parse_args()
    load = os.getloadavg()
    place = Path(tempfile.mkdtemp(prefix="soak"))
    generate_dataset(place / "dataset", n_items=600, n_users=500)
    ids = read_dataset(place / "dataset").item_ids
    vectors = np.random.default_rng(0).standard_normal((len(ids), 48)).astype(np.float32)
    write_representations(place / "vectors", ids, vectors, {"model": "random"})
    base = [sys.executable, "jobs/train.py", "--data.dataset", str(place / "dataset")]
    base += ["--data.representations", str(place / "vectors"), "--training.output", str(place)]
    base += [word for key, value in SETTINGS.items() for word in (f"--{key}", str(value))]
    alone = [*base, "--training.run_name", "alone", "--cluster.launcher", "inline"]
    subprocess.run(alone, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    started = time.monotonic()
    soak = Soak([*base, "--training.run_name", "soak"], place / "soak", args.kills, tuple(args.between), args.seed)
    code, seconds = soak.run(), time.monotonic() - started
    log = (place / "soak" / "train.log").read_text()
    steps = json.loads((place / "soak" / "history.jsonl").read_text().splitlines()[-1])["step"]
    far = difference(place / "alone", place / "soak") if code == 0 else {"run": float("inf")}
    good = code == 0 and max(far.values()) <= 1e-10
    rows: list[tuple[str, Any]] = [("exit code of the last driver", code)]
    rows += [("times the workers went on from a checkpoint", log.count("going on from checkpoint"))]
    rows += [("checkpoints that could not be used", log.count("cannot be used"))]
    rows += [(f"largest difference in {name}", f"{value:.1e}") for name, value in far.items()]
    text = write(
        args.result,
        "A run that was killed at random moments",
        record(["bifair_dist"], "2 Ray Train workers, 1 thread each", load),
        [
            f"{soak.done['worker']} kills of a worker and {soak.done['driver']} of the driver (SIGKILL), "
            f"{args.between[0]:g} to {args.between[1]:g} s apart, seed {args.seed}; {steps:,} steps, checkpoints every "
            f"{SETTINGS['checkpoint.every']} steps and at validations; {seconds / 60:.1f} minutes in all."
        ],
        table(("", ""), rows),
        [f"**{'Met' if good else 'MISSED'}**: the same numbers as the undisturbed run, to 1e-10."],
    )
    print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
