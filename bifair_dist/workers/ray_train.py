"""Workers as Ray Train V2 workers: one `TorchTrainer`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch.distributed as dist

from bifair_dist.compat import cluster_address_for_children, interruptible, torch_config
from bifair_dist.errors import UserError
from bifair_dist.workers.follow import Follow
from bifair_dist.workers.raw_lines import raw_lines_to
from bifair_dist.workers.ray_cluster import check_resources, gpus_each, ray_for
from bifair_dist.workers.settings import ClusterSettings
from bifair_dist.workers.worker import Worker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """`storage`: a folder that all machines see, for Ray Train's own state while it runs (None: a temporary one).

    `log`: a file that the first worker writes and the driver prints as it grows; `ray.log` beside it gets Ray's own
    lines. `callbacks`: Ray Train's. `name`: of
    this attempt; the state of another one is none of its business.
    """

    storage: Path | None = None
    log: Path | None = None
    callbacks: Sequence[Any] = ()
    name: str = "workers"


def run_on_ray(body: Callable[[Worker], T], cluster: ClusterSettings, options: FitOptions) -> T:
    """Run `body` on `cluster.workers` Ray Train workers; the first one's result. Raises `UserError`."""
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # A worker that reports waits until the controller has looked after it, every 2 s by default: as long as epochs
    # of small data take.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    with ExitStack() as held:
        if options.log is not None:
            held.enter_context(raw_lines_to(options.log.with_name("ray.log")))
        held.enter_context(ray_for(cluster))
        resources = ray.cluster_resources()
        gpus = gpus_each(cluster, resources)
        check_resources(cluster, resources, gpus)
        storage = options.storage or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="bifair-ray-train-")))
        # On the driver's machine: it lives as long as the driver does. No resources: it only waits.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        actor: Any = ray.remote(_Outcome)
        outcome = actor.options(num_cpus=0, scheduling_strategy=here).remote()
        # Ray declares a whole number only, and documents the pair.
        workers: Any = (cluster.min_workers, cluster.workers) if cluster.min_workers else cluster.workers
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"body": body, "outcome": outcome},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
            ),
            torch_config=torch_config(backend="nccl" if gpus else "gloo", timeout_s=int(cluster.timeout)),
            run_config=RunConfig(
                name=options.name,
                storage_path=str(storage),
                failure_config=FailureConfig(max_failures=cluster.max_failures),
                callbacks=list(options.callbacks),
            ),
        )
        what = f"{cluster.min_workers} to {cluster.workers}" if cluster.min_workers else str(cluster.workers)
        print(f"starting {what} Ray Train workers ({'GPU' if gpus else 'CPU'})", flush=True)
        result = _fit(trainer, outcome, options)
        shutil.rmtree(storage, ignore_errors=True)
        return result


def _fit(trainer: Any, outcome: Any, options: FitOptions) -> Any:
    import ray
    from ray.train import TrainingFailedError

    with ExitStack() as held:
        if options.log is not None:
            held.enter_context(Follow(options.log))
        held.enter_context(cluster_address_for_children())
        try:
            interruptible(trainer.fit)
        except TrainingFailedError:
            reason = ray.get(outcome.reason.remote())
            if reason:
                raise UserError(reason) from None
            raise
    reason = ray.get(outcome.reason.remote())
    if reason:
        raise UserError(reason)
    return ray.get(outcome.result.remote())


class _Outcome(Generic[T]):
    """What the workers came to, as a Ray actor: Ray Train hands metrics back only beside a checkpoint."""

    def __init__(self) -> None:
        self._result: T | None = None
        self._reason = ""

    def finish(self, result: T) -> None:
        self._result = result

    def fail(self, reason: str) -> None:
        self._reason = self._reason or reason

    def result(self) -> T | None:
        return self._result

    def reason(self) -> str:
        return self._reason


def _ray_worker(config: dict[str, Any]) -> None:
    """Body of a Ray Train worker.

    Ray Train starts the workers again whatever they died of. A `UserError` would only come again: it is left with
    `outcome`, and workers that find one there return at once.
    """
    import ray
    import ray.train
    from ray.train.torch import get_device

    outcome = config["outcome"]
    if ray.get(outcome.reason.remote()):
        return
    worker = Worker(dist.group.WORLD, dist.new_group(), get_device(), ray.train.report, seen=False)
    try:
        result = config["body"](worker)
    except UserError as error:
        ray.get(outcome.fail.remote(str(error)))
        raise
    if dist.get_rank() == 0:
        ray.get(outcome.finish.remote(result))
