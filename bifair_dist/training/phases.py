"""What each method trains, in which order: the phase `base` on the plain loss, then the method's own fair phases.

    mf, lightgcn  base                          id embeddings, which stand in Z's place; no projector
    alpharec      base                          theta, Z fixed
    theta_only    base, fair_theta              then theta on the fairness-aware loss: rules as published
    bifair        base, bilevel                 then theta and Z together on the fairness-aware loss
    separate      base, fair_theta, fair_z      first theta, then Z with theta fixed (the paper's Figure 3)

With cached propagation `base` is followed by `finish`, the same with short intervals and a low rate
(cached_settings.py). Both are left out where a run starts from another run (`training.warm_start`). All phases stop by
the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bifair_dist.training.methods.registry import METHODS
from bifair_dist.training.settings import TrainSettings

FINISH_KEY, FAIR_KEY = 5 * 10**5, 10**6


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training: which of theta and Z move, on which loss, for how long.

    `epochs` is the most; `eval_every` in epochs; `theta_lr`, `z_lr` the Adam learning rates of the projector and of Z;
    `interval` the steps between refreshes of cached propagation. `first_key`: the sampler's key of its first epoch, so
    that phases draw different batches.
    """

    name: str
    train_theta: bool
    train_z: bool
    fair: bool
    epochs: int
    eval_every: int
    theta_lr: float
    z_lr: float
    interval: int
    first_key: int = 0


def phases_of(settings: TrainSettings) -> list[Phase]:
    """The phases of a run, in order."""
    training, bilevel, cached = settings.training, settings.bilevel, settings.cached
    method, lr = METHODS[training.method], training.theta_lr
    ids, every = method.id_embeddings, training.eval_every
    phases = [Phase("base", not ids, ids, False, training.max_epochs, every, lr, lr, cached.interval)]
    if settings.model.propagation == "cached":
        finish = replace(phases[0], name="finish", epochs=cached.finish_epochs, theta_lr=lr * cached.finish_rate)
        phases.append(replace(finish, interval=cached.finish_interval, first_key=FINISH_KEY))
    if training.warm_start:
        phases = []
    for i, (name, theta, z) in enumerate(method.fair, 1):
        lrs = bilevel.theta_lr, bilevel.eta
        phases.append(Phase(name, theta, z, True, training.bilevel_epochs, every, *lrs, cached.interval, i * FAIR_KEY))
    return [p for p in phases if p.epochs > 0]
