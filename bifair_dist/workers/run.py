"""`run_workers`: the same body in every worker, wherever the workers run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bifair_dist.workers.processes import run_processes
from bifair_dist.workers.ray_train import FitOptions, run_on_ray
from bifair_dist.workers.settings import ClusterSettings
from bifair_dist.workers.torchrun import is_torchrun
from bifair_dist.workers.worker import Worker, device_of

T = TypeVar("T")


def launcher_of(cluster: ClusterSettings) -> str:
    """What starts the workers: `torchrun`, `ray` or `inline`."""
    if is_torchrun(cluster):
        return "torchrun"
    return "inline" if cluster.launcher == "inline" else "ray"


def run_workers(
    body: Callable[[Worker], T],
    cluster: ClusterSettings,
    *,
    me: Worker | None = None,
    workers: int = 1,
    own_process: bool = False,
    on_ray: FitOptions | None = None,
) -> T:
    """Run `body` on every worker; returns what it returned on the first one (under torchrun: on this one).

    A worker's `UserError` is raised here. On Ray the cluster's settings say how many workers there are.

    Args:
        body: the work of one worker; it and its result can be pickled.
        cluster: where and on what the workers run.
        me: this process, where torchrun started it (`torchrun_worker`).
        workers: how many, where they run on this machine; one alone runs in this process.
        own_process: a new process also for one alone, whose memory can be measured.
        on_ray: further options of Ray Train.
    """
    launcher = launcher_of(cluster)
    if me is not None:
        return body(me)
    if launcher == "ray":
        return run_on_ray(body, cluster, on_ray or FitOptions())
    if workers == 1 and not own_process:
        return body(Worker(None, None, device_of(0)))
    return run_processes(body, workers, cluster.timeout)
