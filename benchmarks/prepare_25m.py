"""Prepare 25 million interactions end to end: seconds per stage and peak memory.

    python benchmarks/prepare_25m.py            (about 2 minutes on 2 cores, 3 GB of temporary disk)
    python benchmarks/prepare_25m.py --rows 1000000 --result /tmp/small.md

Writes benchmarks/results/prepare_25m.md. The raw data are synthetic, of the shape of MovieLens-25M with ids as Amazon
has them (15 and 14 characters), in random order, and every rating is kept, so that all rows reach every stage.
The limits asked for: 5 minutes, 8 GiB. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
ROWS, USERS, ITEMS = 25_000_000, 162_541, 59_047  # of MovieLens-25M; fewer rows: fewer users and items
CHUNK = 1_000_000
SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.float32()), ("timestamp", pa.int64())]
)
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
    publisher = pc.binary_join_element_wise(
        "publisher", pa.array(skewed(rng, 500, n_items, 1.0)).cast(pa.string()), " "
    )
    columns = [item_ids, title, pc.binary_join_element_wise(*two, "|"), publisher]
    pacsv.write_csv(pa.table(columns, names=["item_id", "title", "genres", "publisher"]), folder / "items.csv")
    return path.stat().st_size


def measure(folder: Path, out: Path, split: str) -> tuple[float, float, str]:
    """Run jobs/prepare.py in its own process: wall seconds, peak GiB, what it printed."""
    groups = ["popularity", "genre:8+rest", "provider:publisher:20+rest", "user:activity"]
    command = [sys.executable, str(ROOT / "jobs" / "prepare.py"), "--source", "generic", "--input", str(folder)]
    command += ["--out", str(out), "--min-rating", "0", "--split", split, "--groups", *groups]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"jobs/prepare.py failed with status {status}")
    scale = 1024 if sys.platform.startswith("linux") else 1  # ru_maxrss: kilobytes on Linux, bytes on macOS
    return seconds, usage.ru_maxrss * scale / 2**30, printed


def hardware() -> str:
    """Processor, cores, memory and the load that others put on them."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def commit() -> str:
    """Short hash of HEAD, marked where the files measured differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    paths = ["bifair_dist/data", "jobs/prepare.py", "benchmarks/prepare_25m.py"]
    changed = subprocess.run(
        [*git, "status", "--porcelain", *paths], capture_output=True, text=True, check=False
    ).stdout
    return head.strip() + (" with changes" if changed else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "prepare_25m.md")
    parser.add_argument("--scratch", type=Path, help="where temporary files go (default: the system's folder)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    lines = [
        f"# Preparing {args.rows:,} interactions",
        "",
        f"- commit {commit()}, {datetime.now(UTC):%Y-%m-%d}; {hardware()}",
        f"- Python {platform.python_version()}, pyarrow {pa.__version__}, numpy {np.__version__}",
        f"- load average before the runs {load:.1f} (other jobs share the cores, so seconds are an upper bound)",
        f"- limits {LIMIT_SECONDS:.0f} s, {LIMIT_GIB:.0f} GiB; measured: `jobs/prepare.py`, a process of its own",
        "",
    ]
    missed = False
    for ending, split in (("csv", "random"), ("parquet", "temporal")):
        with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
            size = generate(Path(scratch) / "in", args.rows, ending)
            seconds, peak, printed = measure(Path(scratch) / "in", Path(scratch) / "out", split)
        missed |= seconds > LIMIT_SECONDS or peak > LIMIT_GIB
        what = f"{ending} ({size / 2**30:.2f} GiB), split {split}, 10-core, four group tables"
        lines += [
            f"## {what}",
            "",
            f"**{seconds:.1f} s, peak {peak:.2f} GiB**",
            "",
            "```",
            printed.split("groups '")[0].rstrip(),
            "```",
            "",
        ]
        print(f"{what}: {seconds:.1f} s, peak {peak:.2f} GiB", flush=True)
    text = "\n".join(lines)
    args.result.parent.mkdir(parents=True, exist_ok=True)
    args.result.write_text(text, encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
