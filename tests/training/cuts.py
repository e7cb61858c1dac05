"""Runs that are cut off after a given step and gone on with, on any number of gloo workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small_runs import metrics_of, theta_of, vectors_of

from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.settings import load, override
from bifair_dist.training.lease import Owner
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.worker import train_worker
from bifair_dist.workers.worker import Worker


class Cut(BaseException):
    """Stands for a process that ends here: no handler in the program catches it."""


@contextmanager
def cut_after(steps: int | None) -> Iterator[None]:
    """The process gets through so many steps and dies in the next one, after the step and before any checkpoint."""
    whole, done = BilevelStep.__call__, 0

    def step(self: BilevelStep, *arguments: Any) -> StepRecord:
        nonlocal done
        record = whole(self, *arguments)
        done += 1
        if done - 1 == steps:
            raise Cut
        return record

    with mock.patch.object(BilevelStep, "__call__", step):
        yield


def end_of(folder: Path) -> dict[str, Any]:
    """What a run came to."""
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return {
        "Z": vectors_of(folder / "item_representations"),
        "theta": theta_of(folder),
        "metrics": metrics_of(folder),
        "history": [{k: v for k, v in r.items() if not k.startswith("seconds")} for r in history],
    }


def assert_same(one: Any, other: Any, tolerance: float) -> None:
    """Equal up to a relative difference; exactly equal at 0."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b, tolerance)
    elif isinstance(one, float | np.ndarray):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    else:
        assert one == other


def on_workers(
    size: int, folder: Path, attempt: int, steps: int | None, scratch: Path, changes: Mapping[str, Any] | None = None
) -> None:
    """`train_worker` on `size` processes in an existing run folder; all die after `steps` steps, None: never.

    `changes`: settings that differ from those the run began with.
    """
    init = scratch / f"init-{attempt}"
    arguments = (size, str(folder), attempt, steps, str(init), dict(changes or {}))
    mp.start_processes(_worker, arguments, nprocs=size, start_method="forkserver")


def _worker(
    rank: int, size: int, folder: str, attempt: int, steps: int | None, init: str, changes: dict[str, Any]
) -> None:
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{init}", rank=rank, world_size=size, timeout=limit)
    worker = Worker(dist.group.WORLD, dist.new_group(), torch.device("cpu"), seen=False)
    settings = override(load(TrainSettings(), Path(folder) / "config.yaml"), {**changes, "cluster.workers": size})
    try:
        with cut_after(steps):
            train_worker(settings, Path(folder), owner(attempt), worker)
    except Cut:
        pass
    finally:
        dist.destroy_process_group()


def owner(attempt: int) -> Owner:
    """A driver without a record in the run folder: nothing fences its workers."""
    return Owner("", attempt, "", "", 0, "", 0.0)
