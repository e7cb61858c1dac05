"""How Ray Tune draws points from a space, stops bad trials, and how many it runs at a time."""

from __future__ import annotations

from typing import Any

from bifair_dist.errors import UserError
from bifair_dist.experiments.settings import SweepSettings
from bifair_dist.experiments.space import Choice, Range, Space
from bifair_dist.training.settings import TrainSettings

METRIC = "objective"


def param_space(space: Space, search: str) -> dict[str, Any]:
    """Ray Tune's domains; for a grid every point, with every seed."""
    from ray import tune

    if search == "grid":
        axes = {k: d.values if isinstance(d, Choice) else d.grid(space.points) for k, d in space.domains.items()}
        return {k: tune.grid_search(list(values)) for k, values in {**axes, "seed": space.seeds}.items()}

    def domain(d: Range | Choice) -> Any:
        if isinstance(d, Choice):
            return tune.choice(list(d.values))
        if d.whole:
            low, high = int(d.low), int(d.high) + 1  # Tune leaves the upper end out
            return tune.lograndint(low, high) if d.log else tune.randint(low, high)
        return tune.loguniform(d.low, d.high) if d.log else tune.uniform(d.low, d.high)

    return {**{k: domain(d) for k, d in space.domains.items()}, "seed": space.seeds[0]}


def searcher(search: str, seed: int) -> Any:
    """Ray Tune's search algorithm, which draws the same points for the same seed; None for a grid."""
    if search == "grid":
        return None
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search == "nsga2":
        genetic = optuna.samplers.NSGAIISampler(seed=seed, population_size=8)
        return OptunaSearch(metric=["recall", "cv"], mode=["max", "min"], sampler=genetic)
    if search == "random":  # Ray Tune's own takes no seed from here
        return OptunaSearch(metric=METRIC, mode="min", sampler=optuna.samplers.RandomSampler(seed=seed))
    # Multivariate: eta, xi and eps act through their products.
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=6)
    return OptunaSearch(metric=METRIC, mode="min", sampler=sampler)


def scheduler(settings: SweepSettings, search: str, validations: int) -> Any:
    """Early stopping on J. Two objectives have no single figure to stop on: none then."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

    if settings.scheduler == "none" or search == "nsga2":
        return FIFOScheduler()
    judged: dict[str, Any] = {"time_attr": "training_iteration", "metric": METRIC, "mode": "min"}
    if settings.scheduler == "median":
        return MedianStoppingRule(**judged, grace_period=settings.grace, min_samples_required=2)
    # Above what any trial reports, the state it kept included: one that reaches its end is not stopped before it.
    most = max(validations, settings.grace) + 2
    return ASHAScheduler(**judged, grace_period=min(settings.grace, validations), max_t=most, reduction_factor=2)


def at_once(train: TrainSettings, asked: int, own_cpus: float, resources: dict[str, float]) -> int:
    """Trials that fit the cluster at a time. Raises `UserError` where not even one does: Ray would wait for ever.

    `own_cpus`: of the process of a trial, beside its workers'.
    """
    cluster = train.cluster
    cpus, gpus = cluster.workers * cluster.cpus_per_worker + own_cpus, cluster.workers * max(0, cluster.gpus_per_worker)
    fit = int(resources.get("CPU", 0) / cpus + 1e-9)
    if gpus > 0:
        fit = min(fit, int(resources.get("GPU", 0) / gpus + 1e-9))
    if fit < 1:
        raise UserError(
            f"cluster.workers: a trial needs {cpus:g} CPUs and {gpus:g} GPUs, the cluster has "
            f"{resources.get('CPU', 0):g} and {resources.get('GPU', 0):g}"
        )
    return min(fit, asked) if asked else fit
