"""Prepare 25 million interactions end to end: seconds and peak memory, for CSV and Parquet.

    python -m benchmarks.prepare_25m            (about 2 minutes on 2 cores, 3 GB of temporary disk)
    python -m benchmarks.prepare_25m --rows 1000000 --result /tmp/small.md

Writes results/prepare_25m.md. The raw data are synthetic, of the shape of MovieLens-25M with ids as Amazon has them
(15 and 14 characters), in random order, and every rating is kept, so that all rows reach every stage. The limits asked
for: 5 minutes, 8 GiB. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.record import RESULTS, record, write
from bifair_dist.commit import ROOT

ROWS, USERS, ITEMS = 25_000_000, 162_541, 59_047  # of MovieLens-25M; fewer rows: fewer users and items
CHUNK = 1_000_000
NAMES = ("user_id", "item_id", "rating", "timestamp")
SCHEMA = pa.schema(list(zip(NAMES, (pa.string(), pa.string(), pa.float32(), pa.int64()), strict=True)))
GROUPS = ("popularity", "genre:8+rest", "provider:publisher:20+rest", "user:activity")
LIMIT_SECONDS, LIMIT_GIB = 300.0, 8.0


def skewed(rng: np.random.Generator, n: int, size: int, power: float) -> npt.NDArray[np.int64]:
    """Draw ``size`` of ``n`` with weights rank^-power, ranks spread at random over the numbers."""
    weight = np.arange(1, n + 1) ** -power
    picks = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(size))
    return np.random.default_rng(1).permutation(n)[np.minimum(picks, n - 1)]


def ids(prefix: str, n: int, width: int) -> pa.Array:
    """Ids of equal length whose string order has nothing to do with their number."""
    shuffled = np.random.default_rng(len(prefix)).permutation(n)
    return pa.array([f"{prefix}{number * 2654435761 % 10**8:08d}{number:0{width}d}" for number in shuffled])


def generate(folder: Path, rows: int, ending: str) -> int:
    """Write interactions and items in the generic layout; returns the bytes of the interactions file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    n_users, n_items = USERS * rows // ROWS, ITEMS * rows // ROWS
    user_ids, item_ids = ids("A", n_users, 6), ids("B", n_items, 5)
    path = folder / f"interactions.{ending}"
    make = pacsv.CSVWriter if ending == "csv" else pq.ParquetWriter
    with make(str(path), SCHEMA) as writer:
        for start in range(0, rows, CHUNK):
            size = min(CHUNK, rows - start)
            user = user_ids.take(pa.array(skewed(rng, n_users, size, 0.4)))
            item = item_ids.take(pa.array(skewed(rng, n_items, size, 0.7)))
            rating = pa.array(rng.integers(1, 11, size).astype(np.float32) / 2)
            stamp = pa.array(rng.integers(789_652_004, 1_574_327_703, size))
            writer.write_table(pa.table([user, item, rating, stamp], schema=SCHEMA))
    genre = pa.array([f"genre {g:02d}" for g in range(20)])
    two = [genre.take(pa.array(rng.integers(20, size=n_items))) for _ in range(2)]
    title = pc.binary_join_element_wise(pa.scalar("Title of"), item_ids, " ")
    number = pa.array(skewed(rng, 500, n_items, 1.0)).cast(pa.string())
    columns = [item_ids, title, pc.binary_join_element_wise(*two, "|")]
    columns.append(pc.binary_join_element_wise("publisher", number, " "))
    pacsv.write_csv(pa.table(columns, names=["item_id", "title", "genres", "publisher"]), folder / "items.csv")
    return path.stat().st_size


def measure(folder: Path, out: Path, split: str) -> tuple[float, float, str]:
    """Run jobs/prepare.py in its own process: wall seconds, peak GiB, what it printed."""
    command = [sys.executable, str(ROOT / "jobs" / "prepare.py"), "--source", "generic", "--input", str(folder)]
    command += ["--out", str(out), "--min-rating", "0", "--split", split, "--groups", *GROUPS]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"jobs/prepare.py failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20, printed  # ru_maxrss: KiB on Linux


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--result", type=Path, default=RESULTS / "prepare_25m.md")
    parser.add_argument("--scratch", type=Path, help="where temporary files go (default: the system's folder)")
    args = parser.parse_args()
    load, blocks, missed = os.getloadavg(), list[list[str]](), False
    for ending, split in (("csv", "random"), ("parquet", "temporal")):
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            size = generate(Path(scratch) / "in", args.rows, ending)
            seconds, peak, printed = measure(Path(scratch) / "in", Path(scratch) / "out", split)
        missed |= seconds > LIMIT_SECONDS or peak > LIMIT_GIB
        what = f"## {ending} ({size / 2**30:.2f} GiB), split {split}, 10-core, four group tables"
        blocks += [[what], [f"**{seconds:.1f} s, peak {peak:.2f} GiB**"]]
        blocks.append(["```", printed.split("groups '")[0].rstrip(), "```"])
    head = record(["bifair_dist/data", "jobs/prepare.py", "benchmarks/prepare_25m.py"], "jobs/prepare.py", load)
    limits = f"- limits {LIMIT_SECONDS:.0f} s, {LIMIT_GIB:.0f} GiB; a process of its own"
    print(write(args.result, f"Preparing {args.rows:,} interactions", [*head, limits], *blocks))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
