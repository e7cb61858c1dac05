"""Workers as processes of this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch.distributed as dist

from bifair_dist.errors import UserError
from bifair_dist.workers.worker import Worker, backend_of, device_of

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

T = TypeVar("T")
REASON = "reason.txt"
LOOK = 0.1
"""Seconds between two looks whether the result is there: a worker waits until its result is read."""


def run_processes(body: Callable[[Worker], T], workers: int, timeout: float) -> T:
    """Run `body` in that many new processes; the first one's result. A worker's `UserError` is raised here.

    `timeout`: seconds that a worker waits for the others.
    """
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory(prefix="bifair-workers-") as folder:
        results: SimpleQueue[T] = mp.get_context("spawn").SimpleQueue()
        arguments = (body, workers, timeout, folder, results)
        context = mp.start_processes(_process, arguments, nprocs=workers, join=False, start_method="spawn")
        found: list[T] = []
        try:
            while not context.join(timeout=LOOK):
                if not results.empty():
                    found.append(results.get())
        except (mp.ProcessExitedException, mp.ProcessRaisedException):
            reason = Path(folder) / REASON
            if reason.is_file():
                raise UserError(reason.read_text(encoding="utf-8")) from None
            raise
        finally:
            for process in context.processes:
                process.terminate()
        return found[0] if found else results.get()


def _process(
    rank: int, body: Callable[[Worker], T], workers: int, timeout: float, folder: str, results: SimpleQueue[T]
) -> None:
    device = device_of(rank)
    group = inner = None
    if workers > 1:
        dist.init_process_group(
            backend_of(device),
            init_method=f"file://{folder}/init",
            rank=rank,
            world_size=workers,
            timeout=timedelta(seconds=timeout),
        )
        group, inner = dist.group.WORLD, dist.new_group()
    try:
        result = body(Worker(group, inner, device))
    except UserError as error:
        (Path(folder) / REASON).write_text(str(error), encoding="utf-8")
        sys.exit(2)
    if rank == 0:
        results.put(result)
    if workers > 1:
        dist.barrier()
        dist.destroy_process_group()
