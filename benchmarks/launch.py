"""Workers for the cases: through Ray Train, as processes of this machine, or those that torchrun started."""

from __future__ import annotations

import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from benchmarks.cases import Case
from benchmarks.measure import Result, measure, waiting
from benchmarks.rates import measured_rates
from benchmarks.settings import BenchmarkSettings
from bifair_dist.parallel.comm import Comm
from bifair_dist.settings import override
from bifair_dist.workers.ray_cluster import check_resources, gpus_each, ray_for

T = TypeVar("T")
Say = Callable[[str], None]
Body = Callable[[Comm, dist.ProcessGroup | None, torch.device], T]
"""What a worker runs: the workers, a process group for DDP alone, this worker's device."""


def run_cases(settings: BenchmarkSettings, cases: list[Case], say: Say) -> dict[Case, Result] | None:
    """Measure every case; None on the workers of torchrun that are not the first. Raises `UserError` as Ray's launch.

    Cases of one number of workers share them: a case's memory is reset, what was imported stays.
    """
    wanted = list(dict.fromkeys(cases))
    launcher = settings.cluster.launcher
    if "TORCHELASTIC_RUN_ID" in os.environ and launcher in ("auto", "torchrun"):
        return _under_torchrun(settings, [c for c in wanted if c.workers == int(os.environ["WORLD_SIZE"])])
    groups = [[c for c in wanted if c.workers == w] for w in sorted({c.workers for c in wanted})]
    if launcher == "inline":
        batches = [[case] for case in wanted] if settings.scale.fresh else groups
        return _each(settings, batches, say, partial(run_processes, timeout=settings.cluster.timeout))
    with _ray(settings, max(group[0].workers for group in groups)):
        return _each(settings, groups, say, partial(_on_ray, settings))


def work_through(
    comm: Comm,
    inner_group: dist.ProcessGroup | None,
    device: torch.device,
    settings: BenchmarkSettings,
    cases: list[Case],
    launched: float | None = None,
) -> list[Result]:
    """The body of a worker. `launched`: Unix time at which it was asked for."""
    torch.set_num_threads(settings.cluster.threads)
    start = max(comm.gather_objects(time.time())) - launched if launched else None
    rates = measured_rates(comm, device, waiting(device))
    return [{**measure(settings, case, comm, inner_group, device, rates), "start_seconds": start} for case in cases]


def _each(
    settings: BenchmarkSettings, batches: list[list[Case]], say: Say, run: Callable[[Body[list[Result]], int], Any]
) -> dict[Case, Result]:
    found: dict[Case, Result] = {}
    for cases in batches:
        workers = cases[0].workers
        say(f"{workers} worker{'s' * (workers > 1)}, cases: {len(cases)}")
        body = partial(work_through, settings=settings, cases=cases, launched=time.time())
        found |= dict(zip(cases, run(body, workers), strict=True))
    return found


def run_processes(body: Body[T], workers: int, timeout: float = 300.0) -> T:
    """`body` in so many new processes of this machine; the first one's result.

    `timeout`: seconds that a worker waits for the others.
    """
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_process, (body, workers, timeout, folder), nprocs=workers, start_method="spawn")
        result: T = pickle.loads((Path(folder) / "result.pickle").read_bytes())
        return result


def _process(rank: int, body: Body[T], workers: int, timeout: float, folder: str) -> None:
    device, group = _device(rank), None
    if workers > 1:
        limit = timedelta(seconds=timeout)
        where = f"file://{folder}/init"
        dist.init_process_group(_backend(device), init_method=where, rank=rank, world_size=workers, timeout=limit)
        group = dist.group.WORLD
    result = body(Comm(group), dist.new_group() if group else None, device)
    if rank == 0:
        (Path(folder) / "result.pickle").write_bytes(pickle.dumps(result))
    if group is not None:
        dist.barrier()
        dist.destroy_process_group()


def _under_torchrun(settings: BenchmarkSettings, cases: list[Case]) -> dict[Case, Result] | None:
    device = _device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group(_backend(device))
    try:
        results = work_through(Comm(dist.group.WORLD), dist.new_group(), device, settings, cases)
        return dict(zip(cases, results, strict=True)) if dist.get_rank() == 0 else None
    finally:
        dist.destroy_process_group()


@contextmanager
def _ray(settings: BenchmarkSettings, workers: int) -> Iterator[None]:
    """Ray for the block; a local one has room for so many workers."""
    with ray_for(override(settings, {"cluster.workers": workers, "cluster.min_workers": 0}).cluster):
        yield


def _on_ray(settings: BenchmarkSettings, body: Body[T], workers: int) -> T:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    here = override(settings, {"cluster.workers": workers, "cluster.min_workers": 0})
    resources = ray.cluster_resources()
    gpus = gpus_each(here.cluster, resources)
    check_resources(here.cluster, resources, gpus)
    with tempfile.TemporaryDirectory() as folder:
        # Ray Train hands metrics back only beside a checkpoint; an actor needs no storage that all see.
        box: Any = ray.remote(num_cpus=0)(_Box).remote()
        each = {"CPU": here.cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"body": body, "box": box},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker=each),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(here.cluster.timeout)),
            run_config=RunConfig(name="benchmark", storage_path=folder),
        )
        trainer.fit()
        result: T = ray.get(box.get.remote())
        return result


class _Box:
    """Holds the first worker's result, as a Ray actor."""

    def __init__(self) -> None:
        self.result: Any = None

    def put(self, result: Any) -> None:
        self.result = result

    def get(self) -> Any:
        return self.result


def _ray_worker(config: dict[str, Any]) -> None:
    import ray
    from ray.train.torch import get_device

    result = config["body"](Comm(dist.group.WORLD), dist.new_group(), get_device())
    if dist.get_rank() == 0:
        ray.get(config["box"].put.remote(result))


def _backend(device: torch.device) -> str:
    return "nccl" if device.type == "cuda" else "gloo"


def _device(local: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local % torch.cuda.device_count())
    return torch.device("cuda", local % torch.cuda.device_count())
