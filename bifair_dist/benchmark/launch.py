"""Workers for the cases: through Ray Train, as processes of this machine, or those that torchrun started."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bifair_dist.benchmark.cases import Case
from bifair_dist.benchmark.measure import Result, measure, waiting
from bifair_dist.benchmark.rates import measured_rates
from bifair_dist.benchmark.settings import BenchmarkSettings
from bifair_dist.parallel.comm import Comm

Say = Callable[[str], None]
RESULTS = "results.json"


def run_cases(settings: BenchmarkSettings, cases: list[Case], say: Say) -> dict[Case, Result] | None:
    """Measure every case; None on the workers of torchrun that are not the first. Raises `UserError` as Ray's launch.

    Cases of one number of workers share them: a case's memory is reset, what was imported stays.
    """
    wanted = list(dict.fromkeys(cases))
    launcher = settings.cluster.launcher
    if "TORCHELASTIC_RUN_ID" in os.environ and launcher in ("auto", "torchrun"):
        return _under_torchrun(settings, [c for c in wanted if c.workers == int(os.environ["WORLD_SIZE"])])
    groups = {w: [c for c in wanted if c.workers == w] for w in sorted({c.workers for c in wanted})}
    if launcher == "inline":
        return _locally(settings, groups, say)
    return _on_ray(settings, groups, say)


def work_through(
    settings: BenchmarkSettings,
    cases: list[Case],
    group: dist.ProcessGroup | None,
    device: torch.device,
    launched: float | None = None,
) -> list[Result]:
    """The body of a worker. `launched`: Unix time at which it was asked for."""
    torch.set_num_threads(settings.cluster.threads)
    inner_group = dist.new_group() if group is not None else None
    comm = Comm(group)
    start = max(comm.gather_objects(time.time())) - launched if launched else None
    rates = measured_rates(comm, device, waiting(device))
    return [{**measure(settings, case, comm, inner_group, device, rates), "start_seconds": start} for case in cases]


def _locally(settings: BenchmarkSettings, groups: dict[int, list[Case]], say: Say) -> dict[Case, Result]:
    import torch.multiprocessing as mp

    found: dict[Case, Result] = {}
    batches = list(groups.items())
    if settings.scale.fresh:
        batches = [(workers, [case]) for workers, cases in batches for case in cases]
    for workers, cases in batches:
        say(f"{workers} worker{'s' * (workers > 1)} on this machine, cases: {len(cases)}")
        with tempfile.TemporaryDirectory() as folder:
            mp.start_processes(
                _process, (settings, cases, workers, folder, time.time()), nprocs=workers, start_method="spawn"
            )
            results = json.loads((Path(folder) / RESULTS).read_text(encoding="utf-8"))
            found |= dict(zip(cases, results, strict=True))
    return found


def _process(
    rank: int, settings: BenchmarkSettings, cases: list[Case], workers: int, folder: str, launched: float
) -> None:
    device = _device(rank)
    group = None
    if workers > 1:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", init_method=f"file://{folder}/init", rank=rank,
            world_size=workers, timeout=timedelta(seconds=settings.cluster.timeout),
        )  # fmt: skip
        group = dist.group.WORLD
    results = work_through(settings, cases, group, device, launched)
    if rank == 0:
        (Path(folder) / RESULTS).write_text(json.dumps(results), encoding="utf-8")
    if group is not None:
        dist.barrier()
        dist.destroy_process_group()


def _under_torchrun(settings: BenchmarkSettings, cases: list[Case]) -> dict[Case, Result] | None:
    device = _device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        results = work_through(settings, cases, dist.group.WORLD, device)
        return dict(zip(cases, results, strict=True)) if dist.get_rank() == 0 else None
    finally:
        dist.destroy_process_group()


def _on_ray(settings: BenchmarkSettings, groups: dict[int, list[Case]], say: Say) -> dict[Case, Result]:
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from bifair_dist.training.ray_launch import check_resources, gpus_each, start_ray

    found: dict[Case, Result] = {}
    # `cluster.workers` is what a local Ray makes room for.
    settings = replace(settings, cluster=replace(settings.cluster, workers=max(groups), min_workers=0))
    started_here = not ray.is_initialized()
    if started_here:
        start_ray(settings)
    try:
        resources = ray.cluster_resources()
        for workers, cases in groups.items():
            here = replace(settings, cluster=replace(settings.cluster, workers=workers))
            gpus = gpus_each(here, resources)
            check_resources(here, resources, gpus)
            say(f"{workers} Ray Train worker{'s' * (workers > 1)}, cases: {len(cases)}")
            with tempfile.TemporaryDirectory() as folder:
                # Ray Train hands metrics back only beside a checkpoint; an actor needs no storage that all see.
                box: Any = ray.remote(num_cpus=0)(_Box).remote()
                trainer = TorchTrainer(
                    _ray_worker,
                    train_loop_config={"settings": here, "cases": cases, "box": box, "launched": time.time()},
                    scaling_config=ScalingConfig(
                        num_workers=workers,
                        use_gpu=gpus > 0,
                        resources_per_worker={"CPU": here.cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
                    ),
                    torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(here.cluster.timeout)),
                    run_config=RunConfig(name="benchmark", storage_path=folder),
                )
                trainer.fit()
            found |= dict(zip(cases, ray.get(box.get.remote()), strict=True))
    finally:
        if started_here:
            ray.shutdown()
    return found


class _Box:
    """Holds the results of one group of workers, as a Ray actor."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def put(self, results: list[Result]) -> None:
        self.results = results

    def get(self) -> list[Result]:
        return self.results


def _ray_worker(config: dict[str, Any]) -> None:
    import ray
    from ray.train.torch import get_device

    results = work_through(config["settings"], config["cases"], dist.group.WORLD, get_device(), config["launched"])
    if dist.get_rank() == 0:
        ray.get(config["box"].put.remote(results))


def _device(local: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local % torch.cuda.device_count())
    return torch.device("cuda", local % torch.cuda.device_count())
