"""What Ray and torch offer only in private, a function for each use; tests/test_compat.py fails where one changes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def cluster_address_for_children() -> Iterator[None]:
    """Give the processes behind Ray Train's `fit` the address of the cluster that they are in.

    Where a driver dies or Ray Tune stops a trial, an actor of Ray Train gives the workers' resources back. It asks
    "the" cluster whether the driver lives, and with two on a machine (each local Ray is one) it finds the wrong one or
    none, and dies: the resources stay taken, and every later trial waits for ever. Ray 2.60 has no setting for it.
    """
    import ray
    from ray.train.v2._internal import constants

    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    constants.ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")
    try:
        yield
    finally:
        os.environ.pop("RAY_ADDRESS")
        if before is not None:
            os.environ["RAY_ADDRESS"] = before


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, in whose place `ray.init` puts one that ends a driver without a word.

    Does nothing outside the main thread, where Ray sets none either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interruptible(work: Callable[[], T]) -> T:
    """Do `work` so that Ctrl-C raises `KeyboardInterrupt` here, as everywhere.

    In the main thread Ray Train answers Ctrl-C itself, and ends the process with exit code 1; in another thread it
    leaves it alone. After an interrupt the thread goes on until Ray is shut down.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def restored_tune_config(tuner: Any) -> Any:
    """The `TuneConfig` of a restored Ray Tune `Tuner`, to be changed in place: `restore` takes no settings."""
    return tuner._local_tuner._tune_config


def profiler_runs() -> bool:
    """Whether a profiler of torch records now; `record_function` costs 12 microseconds also where none does."""
    import torch

    return torch.autograd._profiler_enabled()
