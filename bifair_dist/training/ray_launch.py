"""The workers as Ray Train V2 workers: one `TorchTrainer` that runs `train_worker` on each."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from bifair_dist.errors import UserError
from bifair_dist.files import write_json
from bifair_dist.runs import Run
from bifair_dist.training.follow import Follow
from bifair_dist.training.lease import Owner
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.worker import Place, train_worker

FATAL = "error.json"


def ray_worker(config: dict[str, Any]) -> None:
    """Body of a Ray Train worker. Every rank reports equally often, as Ray Train V2 asks.

    Ray Train starts the workers again whatever they died of. A `UserError` would only come again: it is left in
    `FATAL`, and workers that find it there return at once.
    """
    import ray.train
    from ray.train.torch import get_device

    folder = Path(config["folder"])
    if (folder / FATAL).exists():
        return
    inner_group = dist.new_group()
    place = Place(dist.group.WORLD, inner_group, get_device())
    try:
        train_worker(config["settings"], folder, place, config["owner"], report=ray.train.report, echo=False)
    except UserError as error:
        with suppress(OSError):  # a full disk: then the error comes back as often as Ray Train is told to try
            write_json(folder / FATAL, {"error": str(error)})
        raise


def train_on_ray(settings: TrainSettings, folder: Path, owner: Owner, callbacks: Sequence[Any] = ()) -> None:
    """Run the training on a Ray cluster: the one of this job, the one at `cluster.address`, or a local one.

    `owner` is the driver's record in the run folder. `callbacks` are Ray Train's; a sweep passes the one that hands
    every validation on to Ray Tune.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    # A worker that reports waits until the controller has looked after it, every 2 s unless told: as long as epochs
    # of small data take.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    cluster = settings.cluster
    started_here = not ray.is_initialized()
    if started_here:
        start_ray(settings)
    try:
        resources = ray.cluster_resources()
        gpus = gpus_each(settings, resources)
        check_resources(settings, resources, gpus)
        # Ray declares a whole number only, and documents the pair.
        workers: Any = (cluster.min_workers, cluster.workers) if cluster.min_workers else cluster.workers
        trainer = TorchTrainer(
            ray_worker,
            train_loop_config={"settings": settings, "folder": str(folder), "owner": owner},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
            ),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(cluster.timeout)),
            run_config=RunConfig(
                # Its own state only; the checkpoints are ours, and those of an earlier driver are none of its business.
                name=f"attempt-{owner.attempt}",
                storage_path=str(folder / "ray_train"),
                failure_config=FailureConfig(max_failures=cluster.max_failures),
                callbacks=list(callbacks),
            ),
        )
        what = f"{cluster.min_workers} to {cluster.workers}" if cluster.min_workers else str(cluster.workers)
        print(f"starting {what} Ray Train workers ({'GPU' if gpus else 'CPU'})", flush=True)
        (folder / FATAL).unlink(missing_ok=True)
        try:
            with Follow(Run(folder).log_file), _own_cluster_is_found():
                trainer.fit()
        except TrainingFailedError as error:
            raise _as_user_error(error) from None
        if (folder / FATAL).exists():
            raise UserError(json.loads((folder / FATAL).read_text(encoding="utf-8"))["error"])
        shutil.rmtree(folder / "ray_train", ignore_errors=True)
    finally:
        if started_here:
            ray.shutdown()


@contextmanager
def _own_cluster_is_found() -> Iterator[None]:
    """Tell the processes behind a `fit` by RAY_ADDRESS which cluster they are in.

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


def start_ray(settings: TrainSettings, spare_cpus: int = 0) -> None:
    """Connect to the cluster that is meant, or start a local one with `spare_cpus` more than the machine has."""
    import ray

    threads = str(settings.cluster.threads)
    # Two OpenMP pools on two cores made a run 20x slower: the number is set before a worker imports torch.
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAY_TRAIN_V2_ENABLED": "1"}
    # A thread that spins for one whose core another process has costs a step ten times its work (benchmarks/results).
    variables["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # of a Ray begun here: its 15 starves workers where others run
    address = settings.cluster.address or os.environ.get("RAY_ADDRESS") or None
    local: dict[str, Any] = (
        {} if address else {"num_cpus": max(os.cpu_count() or 1, _cpus_wanted(settings)) + spare_cpus}
    )
    _check_reachable(address)
    try:
        ray.init(
            address=address or "local",
            runtime_env={"env_vars": variables},
            logging_level=logging.ERROR,
            log_to_driver=False,  # `Follow` prints the workers' log
            **local,
        )
    except ConnectionError as error:
        raise UserError(f"cluster.address: no Ray cluster at {address!r} ({str(error).splitlines()[0]})") from None


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes, with pages of warnings, before it gives up on an address where nothing listens."""
    host, _, port = (address or "").rpartition("://")[2].rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"cluster.address: no Ray cluster answers at {address} ({error})") from None


def _cpus_wanted(settings: TrainSettings) -> int:
    """CPUs a local Ray has to offer so that all workers fit, the trainer's own controller included."""
    return int(settings.cluster.workers * settings.cluster.cpus_per_worker + 0.999)


def gpus_each(settings: TrainSettings, resources: dict[str, float]) -> float:
    """GPUs of each worker: as many as asked for, else one where the cluster has one for each."""
    asked = settings.cluster.gpus_per_worker
    if asked >= 0:
        return asked
    return 1.0 if resources.get("GPU", 0) >= settings.cluster.workers else 0.0


def check_resources(settings: TrainSettings, resources: dict[str, float], gpus: float) -> None:
    """Ray would wait for resources that never come; say so at once. Raises `UserError`."""
    fewest, workers = settings.cluster.min_workers, settings.cluster.workers
    if fewest > workers:
        raise UserError(f"cluster.min_workers: {fewest} is more than cluster.workers, which is {workers}; lower it")
    workers = fewest or workers
    for kind, each in (("CPU", settings.cluster.cpus_per_worker), ("GPU", gpus)):
        if each * workers > resources.get(kind, 0):
            raise UserError(
                f"cluster.workers: {workers} workers with {each:g} {kind} each need {each * workers:g} {kind}s, the "
                f"cluster has {resources.get(kind, 0):g}; lower cluster.workers or cluster.{kind.lower()}s_per_worker"
            )


def _as_user_error(error: Exception) -> BaseException:
    """The one line that a worker failed with, where there is one; else the failure as it is."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    for rank in sorted(failures):
        cause: BaseException | None = failures[rank]
        while cause is not None:
            if isinstance(cause, UserError):
                return cause
            cause = cause.__cause__ or getattr(cause, "cause", None)
    return error
