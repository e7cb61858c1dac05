"""What each method trains, in which order.

    mf           base                          id embeddings, which stand in Z's place, on the plain loss; no projector
    lightgcn     base                          the same with propagation
    alpharec     base                          theta on the plain loss, Z fixed
    theta_only   base, fair_theta              then theta on the fairness-aware loss: rules as published
    bifair       base, bilevel                 then theta and Z together on the fairness-aware loss
    separate     base, fair_theta, fair_z      first theta, then Z with theta fixed (the paper's Figure 3)

With cached propagation `base` is followed by `finish`, the same with short intervals and a low rate
(cached_settings.py). Both are left out where a run starts from another run (`training.warm_start`). All phases stop by
the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bifair_dist.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training: which of theta and Z move, on which loss, for how long.

    `epochs` is the most; `eval_every` in epochs; `theta_lr`, `z_lr` the Adam learning rates of the projector and of Z.
    """

    name: str
    train_theta: bool
    train_z: bool
    fair: bool
    epochs: int
    eval_every: int
    theta_lr: float
    z_lr: float


def phases_of(settings: TrainSettings) -> list[Phase]:
    """The phases of a run, in order."""
    training, bilevel = settings.training, settings.bilevel
    ids, lr = training.id_embeddings, training.theta_lr
    base = Phase("base", not ids, ids, False, training.max_epochs, training.eval_every, lr, lr)
    first = [base]
    if settings.model.propagation == "cached":
        cached = settings.cached
        rate = lr * cached.finish_rate
        first.append(replace(base, name="finish", epochs=cached.finish_epochs, theta_lr=rate))

    def fair(name: str, theta: bool, z: bool) -> Phase:
        return Phase(name, theta, z, True, training.bilevel_epochs, training.eval_every, bilevel.theta_lr, bilevel.eta)

    later = {
        "mf": [],
        "lightgcn": [],
        "alpharec": [],
        "theta_only": [fair("fair_theta", True, False)],
        "bifair": [fair("bilevel", True, True)],
        "separate": [fair("fair_theta", True, False), fair("fair_z", False, True)],
    }[training.method]
    phases = later if training.warm_start else [*first, *later]
    return [p for p in phases if p.epochs > 0]
