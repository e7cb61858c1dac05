"""Processes that torchrun started: this one is one of them."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from bifair_dist.errors import UserError
from bifair_dist.workers.settings import ClusterSettings
from bifair_dist.workers.worker import Worker, backend_of, device_of

T = TypeVar("T")


def is_torchrun(cluster: ClusterSettings) -> bool:
    """Whether this process is one of torchrun's workers."""
    if cluster.launcher == "torchrun":
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise UserError("cluster.launcher: torchrun did not start this process; run `torchrun jobs/...`, or auto")
        return True
    return cluster.launcher == "auto" and "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def torchrun_worker(cluster: ClusterSettings) -> Iterator[Worker | None]:
    """This process as a worker of torchrun, with its process groups; None where torchrun did not start it."""
    if not is_torchrun(cluster):
        yield None
        return
    # Gloo's threads may hold a finished operation's tensors. Freeing a group waits for them; if they let go only while
    # Python ends, the process aborts and a finished run exits with -6 (pytorch#190489). What an exception's cycle of
    # references still holds of a group is freed before that.
    atexit.register(gc.collect)
    device = device_of(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group(backend_of(device), timeout=timedelta(seconds=cluster.timeout))
    try:
        yield Worker(dist.group.WORLD, dist.new_group(), device)
    finally:
        dist.destroy_process_group()


def on_first(me: Worker | None, make: Callable[[], T]) -> T:
    """What `make` returns on the first worker, on all of them; its `UserError` is raised on all, too."""
    if me is None:
        return make()
    message: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            message = [make()]
        except UserError as error:
            message = [error]
    dist.broadcast_object_list(message)
    if isinstance(message[0], UserError):
        raise message[0]
    result: T = message[0]
    return result
