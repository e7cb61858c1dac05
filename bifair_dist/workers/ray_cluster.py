"""The Ray cluster that a driver uses: found or started, and checked for what the workers need. Raises `UserError`."""

from __future__ import annotations

import logging
import math
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bifair_dist.compat import on_loopback, own_sigterm
from bifair_dist.errors import UserError
from bifair_dist.workers.settings import ClusterSettings

LONGEST_SOCKET_PATH = 107
"""Bytes of a Unix socket's path on Linux (sun_path less its end)."""
WITHOUT = "train without Ray: --cluster.launcher inline"
_SESSION = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"


@contextmanager
def ray_for(cluster: ClusterSettings, spare_cpus: int = 0) -> Iterator[None]:
    """Ray for the block: the one that is there already, else the one that is meant, else a local one."""
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        start_ray(cluster, spare_cpus)
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()


def start_ray(cluster: ClusterSettings, spare_cpus: int = 0) -> None:
    """Connect to the cluster that is meant, or start a local one with `spare_cpus` more than the machine has."""
    threads = str(cluster.threads)
    # Two OpenMP pools on two cores made a run 20x slower: the number is set before a worker imports torch.
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAY_TRAIN_V2_ENABLED": "1"}
    # A thread that spins for one whose core another process has costs a step ten times its work (benchmarks/results).
    variables["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    wanted = math.ceil(cluster.workers * cluster.cpus_per_worker)
    connect(cluster.address, max(os.cpu_count() or 1, wanted) + spare_cpus, variables)


def connect(address: str, cpus: int, variables: Mapping[str, str], without: str = WITHOUT) -> None:
    """Connect to the cluster at `address` (empty: the one that RAY_ADDRESS names), else start a local one.

    A local one is on loopback and wants a token, which Ray makes. `cpus`: what it offers. `variables`: environment of
    the workers. `without`: how the program does without Ray, for the error line.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a Ray begun here: its 15 starves workers where others run
    check_place(address)
    setting = "cluster.address" if address else "RAY_ADDRESS"
    address = address or os.environ.get("RAY_ADDRESS", "")
    local: dict[str, Any] = {} if address else {"num_cpus": cpus}
    _check_reachable(setting, address)
    try:
        with own_sigterm(), nullcontext() if address else on_loopback():
            _init_patiently(
                address=address or "local",
                runtime_env={"env_vars": dict(variables)} if variables else None,
                logging_level=logging.ERROR,
                log_to_driver=False,  # the driver shows the workers' log itself
                **local,
            )
    except Exception as error:  # also a bare Exception, where a node did not start in time
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if address:
            raise UserError(f"{setting}: no Ray cluster at {address!r} ({reason})") from None
        raise UserError(
            f"Ray did not start on this machine: {reason}; is it short of memory, or busy? Try again, or {without}"
        ) from None


def _init_patiently(**arguments: Any) -> None:
    """`ray.init`, once more where a local node was not up within the 30 s that Ray fixes for it.

    The first start after an installation compiles what it imports, and on a busy machine takes longer than that.
    """
    import ray

    try:
        ray.init(**arguments)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        print("Ray did not start within 30 s; trying once more", flush=True)
        ray.shutdown()
        ray.init(**arguments)


def check_place(address: str) -> None:
    """What Ray would refuse with a stack, minutes later: an address of another kind, or a temporary folder too long."""
    where, address = ("cluster.address", address) if address else ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS", ""))
    if address.startswith(("http://", "https://")):
        host = address.partition("://")[2].rpartition(":")[0] or "HOST"
        raise UserError(
            f"{where}: {address} is where jobs are submitted (ray job submit --address {address}); a program that "
            f"runs on the cluster wants the address of its head, such as {host}:6379, or none on the head itself"
        )
    place = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if not address and len(os.fsencode(place / _SESSION)) > LONGEST_SOCKET_PATH:
        raise UserError(
            f"TMPDIR: {place} is too long for Ray's sockets, whose paths have at most {LONGEST_SOCKET_PATH} bytes; set "
            "TMPDIR or RAY_TMPDIR to a shorter folder, such as /tmp"
        )


def _check_reachable(setting: str, address: str) -> None:
    """Ray itself tries for minutes, with pages of warnings, before it gives up on an address where nothing listens."""
    host, _, port = address.rpartition("://")[2].rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{setting}: no Ray cluster answers at {address} ({error})") from None


def gpus_each(cluster: ClusterSettings, resources: Mapping[str, float]) -> float:
    """GPUs of each worker: as many as asked for, else one where the Ray cluster has one for each."""
    if cluster.gpus_per_worker >= 0:
        return cluster.gpus_per_worker
    return 1.0 if resources.get("GPU", 0) >= cluster.workers else 0.0


def check_resources(cluster: ClusterSettings, resources: Mapping[str, float], gpus: float) -> None:
    """Ray would wait for resources that never come; say so at once."""
    if cluster.min_workers > cluster.workers:
        raise UserError(
            f"cluster.min_workers: {cluster.min_workers} is more than cluster.workers, which is {cluster.workers}; "
            "lower it"
        )
    workers = cluster.min_workers or cluster.workers
    for kind, each in (("CPU", cluster.cpus_per_worker), ("GPU", gpus)):
        if each * workers > resources.get(kind, 0):
            raise UserError(
                f"cluster.workers: {workers} workers with {each:g} {kind} each need {each * workers:g} {kind}s, the "
                f"cluster has {resources.get(kind, 0):g}; lower cluster.workers or cluster.{kind.lower()}s_per_worker"
            )
