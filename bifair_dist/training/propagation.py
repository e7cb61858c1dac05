"""Full or cached propagation, where the settings leave it open: by the estimated time of a step (bifair_dist/cost).

On one worker whatever the number, so that a run that goes on with another number goes on with the same propagation.
"""

from __future__ import annotations

from typing import Literal

from bifair_dist.cost.seconds import mean_step
from bifair_dist.cost.work import Sizes
from bifair_dist.hardware import PROFILES, Hardware, of_device
from bifair_dist.settings import override
from bifair_dist.training.methods.registry import METHODS
from bifair_dist.training.phases import phases_of
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.work import work_of

WORTH = 3.0
"""Cached propagation loses a little accuracy and took 1.5 times the epochs
(benchmarks/results/cached_quality.md); so twice that."""


def serves_cached(settings: TrainSettings) -> bool:
    """Whether these settings could train on cached propagation, as `TrainSettings.check` has it."""
    training = settings.training
    plain = training.strategy == "ddp" and training.precision == "full"
    return plain and METHODS[training.method].cached


def settle_propagation(settings: TrainSettings, sizes: Sizes, hardware: Hardware) -> tuple[TrainSettings, str]:
    """The settings with `auto` decided, and a line that says what was taken and why; empty where nothing was open."""
    if settings.model.propagation != "auto":
        return settings, ""
    taken: Literal["full", "cached"] = "full"
    if not serves_cached(settings):
        why = "the method, strategy or precision asked for has no cached propagation"
    else:
        full, cached = (_seconds(settings, name, sizes, hardware) for name in ("full", "cached"))
        taken = "cached" if full >= WORTH * cached else "full"
        why = (
            f"on {hardware.name} a step is estimated at {_shown(full)} full and {_shown(cached)} cached, and cached "
            f"has to be {WORTH:g} times as fast to be worth it"
        )
    decided = override(settings, {"model.propagation": taken})
    return decided, f"model.propagation auto: {taken} ({why})"


def hardware_of(settings: TrainSettings) -> Hardware:
    """The profile nearest to what the workers will have; without a word in the settings, what this machine has."""
    import torch  # a plan and a refused setting do without

    gpus = settings.cluster.gpus_per_worker
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    if gpus == 0 or (gpus < 0 and name == "cpu"):
        return PROFILES["cpu-2core"]
    found = of_device(name)
    return found if found is not None and found.is_gpu else PROFILES["h100-80gb"]


def _seconds(settings: TrainSettings, propagation: str, sizes: Sizes, hardware: Hardware) -> float:
    """Of a step, the mean over the phases that both have."""
    phases = phases_of(settings)  # of the settings that leave it open: none that only one of the two has
    settings = override(settings, {"model.propagation": propagation})
    each = [sum(mean_step(work_of(settings, sizes, phase, 1), hardware).values()) for phase in phases]
    return sum(each) / max(len(each), 1)


def _shown(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
