"""Small prepared-looking item tables for the embedding job's tests."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("the", "of", "river", "night", "garden", "engine", "winter", "song", "machine", "letter", "ocean", "stone")


def catalogue(folder: Path, items: int = 23, group: int = 7, seed: int = 0, **odd: str) -> Path:
    """A dataset folder with only items.parquet: titles of 1 to 12 words; `odd`: i5="text" sets the title of item 5."""
    draw = np.random.default_rng(seed)
    titles = [" ".join(draw.choice(WORDS, draw.integers(1, 13))) + f" {i}" for i in range(items)]
    for name, title in odd.items():
        titles[int(name[1:])] = title
    folder.mkdir(parents=True)
    table = pa.table({"item_id": [f"i{i:05d}" for i in range(items)], "title": titles})
    pq.write_table(table, folder / "items.parquet", row_group_size=group)
    return folder


def shard_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every Parquet file of a representations folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.parquet"))}


def embed(*arguments: object, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """`python jobs/embed.py ...` to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, cwd=ROOT)


def command(*arguments: object) -> list[str]:
    """The command line of jobs/embed.py."""
    return [sys.executable, "jobs/embed.py", "--tracking.enabled=no", *map(str, arguments)]


def descendants(pid: int) -> dict[int, str]:
    """Command lines of all processes below one, by id."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, str] = {}
    for process in parents:
        above: int | None = process
        while above is not None and above != pid:
            above = parents.get(above)
        if above == pid and process != pid:
            with suppress(OSError):
                found[process] = (Path("/proc") / str(process) / "cmdline").read_text().replace("\0", " ")
    return found
