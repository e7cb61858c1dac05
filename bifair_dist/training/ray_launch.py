"""Moved to `workers/`; what is left is for callers that have not moved yet."""

from bifair_dist.training.settings import TrainSettings
from bifair_dist.workers import ray_cluster


def start_ray(settings: TrainSettings, spare_cpus: int = 0) -> None:
    """`workers.ray_cluster.start_ray` of the cluster's settings."""
    ray_cluster.start_ray(settings.cluster, spare_cpus)


def gpus_each(settings: TrainSettings, resources: dict[str, float]) -> float:
    """`workers.ray_cluster.gpus_each` of the cluster's settings."""
    return ray_cluster.gpus_each(settings.cluster, resources)


def check_resources(settings: TrainSettings, resources: dict[str, float], gpus: float) -> None:
    """`workers.ray_cluster.check_resources` of the cluster's settings."""
    ray_cluster.check_resources(settings.cluster, resources, gpus)
