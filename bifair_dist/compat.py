"""What Ray and torch offer only in private, a function for each use; tests/test_compat.py fails where one changes."""

from __future__ import annotations

import importlib
import ipaddress
import os
import signal
import socket
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
def on_loopback() -> Iterator[None]:
    """Let a Ray that `ray.init` starts in the block open its ports at 127.0.0.1 only.

    Its node's address decides where it listens. Ray replaces 127.0.0.1, also where it is given, by the machine's own,
    and then most parts listen on all interfaces; only where clusters are off, as on macOS, it keeps to loopback.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def torch_config(**options: Any) -> Any:
    """Ray Train's `TorchConfig`. Where the node is at a loopback address, what torch opens is on loopback, too.

    Otherwise its store, by which workers find each other, listens on all interfaces and asks nobody for a token.
    """
    import ray
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    class Loopback(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(_keep_torch_on_loopback)
            super().on_start(worker_group, backend_config)

    class LoopbackConfig(TorchConfig):
        @property
        def backend_cls(self) -> type[Loopback]:
            return Loopback

    here = ipaddress.ip_address(ray.util.get_node_ip_address())
    return (LoopbackConfig if here.is_loopback else TorchConfig)(**options)


def _keep_torch_on_loopback() -> None:
    """In a worker: the interface of gloo and NCCL, and a socket bound to loopback for the store that rank 0 begins."""
    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")  # the package has a function of this name
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    store = rendezvous.TCPStore

    def begin(**named: Any) -> Any:
        if named["is_master"]:
            named["master_listen_fd"] = socket.create_server((named["host_name"], named["port"])).detach()
        return store(**named)

    rendezvous.TCPStore = begin


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
