"""On what training runs."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class ClusterSettings(Settings):
    """Workers and what each of them gets. Results do not depend on their number."""

    launcher: Literal["auto", "ray", "torchrun", "inline"] = setting(
        "auto",
        "auto: torchrun where it started this process, else Ray Train; inline: one worker in this process",
        why="one command works in every place",
    )
    workers: int = setting(2, "worker processes", unit="processes", why="the cores of a small machine", ge=1)
    threads: int = setting(
        1,
        "CPU threads of each worker",
        unit="threads",
        why="more threads than cores make a run many times slower",
        ge=1,
    )
    gpus_per_worker: float = setting(
        -1.0,
        "GPUs of each worker; -1: one each where the machine or Ray cluster has enough, else none",
        unit="GPUs",
        why="a GPU machine needs no setting",
        ge=-1,
    )
    cpus_per_worker: float = setting(
        1.0, "CPUs that Ray sets aside for each worker", unit="CPUs", why="what one thread uses", gt=0
    )
    address: str = setting(
        "",
        "Ray cluster; empty: the one that a submitted job runs in, else a local one; auto: a running one",
        unit="address",
        why="a laptop needs no cluster",
    )
    min_workers: int = setting(
        0,
        "fewest workers to go on with where the cluster has lost some; 0: always `workers`",
        unit="processes",
        why="results do not depend on their number, only the time does",
        ge=0,
    )
    max_failures: int = setting(
        3,
        "times that Ray Train starts the workers again from the last checkpoint after one died; -1: always",
        unit="restarts",
        why="survives lost machines, ends where a fault comes back every time",
        ge=-1,
    )
    timeout: float = setting(
        1800.0,
        "time after which a worker that waits for the others gives up",
        unit="seconds",
        why="gloo's own default",
        gt=0,
    )
