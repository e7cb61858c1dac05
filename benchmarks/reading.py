"""Seconds to read a dataset and item vectors of the smallest case, as the trainer does, against reading their bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.cases import Case
from benchmarks.catalogue import synthetic_pairs, unit_rows
from bifair_dist.data.dataset import GroupTable, Interactions, read_dataset
from bifair_dist.data.representations import write_representations
from bifair_dist.data.representations.reading import read_rows
from bifair_dist.data.writer import write_dataset


def reading(case: Case, folder: Path, seed: int) -> dict[str, Any]:
    """Seconds, bytes and seconds of the bytes alone, for the dataset and for one worker's rows of the vectors.

    Files are written below `folder` first and removed after; the system still has them in memory when they are read.
    """
    pairs = synthetic_pairs(case.users, case.items, case.pairs, seed, case.groups)
    width = len(str(max(case.items, case.users)))
    ids, users = ([f"{n:0{width}d}" for n in range(count)] for count in (case.items, case.users))
    user, item = pairs.user.numpy(), pairs.item.numpy()
    held = np.arange(len(user)) % 10
    masks = {"train": held < 8, "valid": held == 8, "test": held == 9}
    labels = tuple(f"group {g}" for g in range(case.groups))
    table = GroupTable("groups", "item", labels, pairs.item_of_group.numpy(), pairs.group.numpy())
    with tempfile.TemporaryDirectory(dir=folder) as name:
        dataset, vectors = Path(name) / "dataset", Path(name) / "vectors"
        write_dataset(
            dataset,
            items=pa.table({"item_id": ids, "title": [f"title of item {n}" for n in ids]}),
            users=pa.table({"user_id": users}),
            groups=[table],
            manifest={"name": "generated", "source": "benchmark"},
            splits={split: Interactions(user[mask], item[mask]) for split, mask in masks.items()},
        )
        write_representations(
            vectors, np.array(ids), unit_rows(case.items, case.width, seed).numpy(), {"model": "none"}
        )
        read = _timed(lambda: read_dataset(dataset))
        given = read_dataset(dataset).item_ids
        stop = -(-case.items // case.workers)
        rows = _timed(lambda: read_rows(vectors, given, 0, stop, "float32"))
        return {
            "dataset": {"seconds": read, **_raw(dataset)},
            "vectors of a worker": {"seconds": rows, **_raw(vectors)},
        }


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _raw(folder: Path) -> dict[str, float]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    start = time.perf_counter()
    n_bytes = sum(len(path.read_bytes()) for path in files)
    return {"bytes": n_bytes, "bound": time.perf_counter() - start}
