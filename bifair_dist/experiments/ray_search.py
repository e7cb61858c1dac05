"""The sweep's searcher, scheduler and resources, in Ray Tune's terms."""

from __future__ import annotations

from typing import Any

from bifair_dist.errors import UserError
from bifair_dist.experiments.ray_trial import METRIC
from bifair_dist.experiments.settings import SweepSettings
from bifair_dist.experiments.space import Choice, Range, Space
from bifair_dist.training.settings import TrainSettings

DRIVER_CPUS = 0.01
"""What Ray sets aside for a trial's own process, which waits for its workers."""


def param_space(space: Space, search: str) -> dict[str, Any]:
    """Ray Tune's domains; for a grid every point, with every seed."""
    from ray import tune

    if search == "grid":
        out = {
            k: tune.grid_search(list(d.values if isinstance(d, Choice) else d.grid(space.points)))
            for k, d in space.domains.items()
        }
        return {**out, "seed": tune.grid_search(list(space.seeds))}

    def domain(d: Range | Choice) -> Any:
        if isinstance(d, Choice):
            return tune.choice(list(d.values))
        if d.whole:
            low, high = int(d.low), int(d.high) + 1  # Tune leaves the upper end out
            return tune.lograndint(low, high) if d.log else tune.randint(low, high)
        return tune.loguniform(d.low, d.high) if d.log else tune.uniform(d.low, d.high)

    return {**{k: domain(d) for k, d in space.domains.items()}, "seed": space.seeds[0]}


def searcher(search: str, seed: int) -> Any:
    """Ray Tune's search algorithm; None for a grid and for random search, which Tune does by itself."""
    if search in ("grid", "random"):
        return None
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch
    except ImportError:
        raise UserError(f"tune.search: {search} needs optuna; install it or give --tune.search random") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search == "nsga2":
        genetic = optuna.samplers.NSGAIISampler(seed=seed, population_size=8)
        return OptunaSearch(metric=["recall", "cv"], mode=["max", "min"], sampler=genetic)
    # Multivariate: eta, xi and eps act through their products.
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=6)
    return OptunaSearch(metric=METRIC, mode="min", sampler=sampler)


def scheduler(settings: SweepSettings, search: str, validations: int) -> Any:
    """Early stopping on J. Two objectives have no single figure to stop on: none then."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

    if settings.scheduler == "none" or search == "nsga2":
        return FIFOScheduler()
    if settings.scheduler == "median":
        return MedianStoppingRule(
            time_attr="training_iteration",
            metric=METRIC,
            mode="min",
            grace_period=settings.grace,
            min_samples_required=2,
        )
    return ASHAScheduler(
        time_attr="training_iteration",
        metric=METRIC,
        mode="min",
        grace_period=min(settings.grace, validations),
        # Above what any trial reports: one that reaches its end is not stopped just before it.
        max_t=max(validations, settings.grace) + 1,
        reduction_factor=2,
    )


def at_once(train: TrainSettings, asked: int, resources: dict[str, float]) -> int:
    """Trials that fit the cluster at a time. Raises `UserError` where not even one does: Ray would wait for ever."""
    cluster = train.cluster
    cpus = cluster.workers * cluster.cpus_per_worker + DRIVER_CPUS
    fit = int(resources.get("CPU", 0) / cpus + 1e-9)
    if cluster.gpus_per_worker > 0:
        fit = min(fit, int(resources.get("GPU", 0) / (cluster.workers * cluster.gpus_per_worker) + 1e-9))
    if fit < 1:
        raise UserError(
            f"cluster.workers: a trial needs {cpus:g} CPUs and {cluster.workers * max(0, cluster.gpus_per_worker):g} "
            f"GPUs, the cluster has {resources.get('CPU', 0):g} and {resources.get('GPU', 0):g}"
        )
    return min(fit, asked) if asked else fit
