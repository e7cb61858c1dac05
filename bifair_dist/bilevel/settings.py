"""The bi-level update of item representations and projector."""

from __future__ import annotations

from typing import Literal

from bifair_dist.errors import UserError
from bifair_dist.settings import Settings, setting


class BilevelSettings(Settings):
    """Bi-level step: the outer level moves the item representations Z, the inner one the projector theta."""

    hypergradient: Literal["finite_difference", "exact", "penalty"] = setting(
        "finite_difference",
        "how Z's gradient looks through the inner level: one step unrolled, its second-order term by a finite "
        "difference or exact (--bilevel.xi 0 leaves it out: first order); or a penalty, with a second projector",
        why="two plain passes instead of a double backward, and agrees with it (jobs/check.py hypergradient)",
    )
    eta: float = setting(
        1e-4,
        "outer step: Adam learning rate of Z",
        unit="per step",
        why="a tenth of the projector's: as fast as the projector Z memorises training pairs (docs/decisions.md)",
        gt=0,
    )
    theta_lr: float = setting(
        1e-3,
        "inner step: Adam learning rate of the projector in the bi-level phase",
        unit="per step",
        why="as in the base phase",
        gt=0,
    )
    unroll: Literal["sgd", "adam"] = setting(
        "sgd",
        "the step that the hypergradient looks through: gradient descent of length xi, or the one that Adam takes, "
        "which xi has no part in unless it is 0",
        why="what all results are of; Adam's step is six times as long, and no whole study compares them",
    )
    xi: float = setting(
        0.001,
        "step of the projector's one-step unroll inside the hypergradient; 0: first order",
        unit="per step",
        why="from a trained projector .01 overshoots, and cost accuracy (docs/hypergradient.md)",
        ge=0,
    )
    eps: float = setting(
        0.01,
        "finite difference: the projector is moved by e v with e = eps / ||v||",
        unit="norm of theta",
        why="DARTS's value; jobs/check.py hypergradient finds the best one for a dataset",
        gt=0,
    )
    penalty: float = setting(
        10.0,
        "with --bilevel.hypergradient penalty: lambda, the weight of the inner loss against the outer one",
        unit="times",
        why="the error of the hypergradient is of order 1 / lambda, its noise of order lambda",
        gt=0,
    )
    inner_steps: int = setting(1, "projector steps for each step of Z", unit="steps", why="as in DARTS", ge=1)
    outer_data: Literal["auto", "fold", "next", "same"] = setting(
        "auto",
        "positives of the outer loss: a share of the training pairs that the inner level does not see, another one in "
        "every epoch; the next training batch; or the same batch. auto: fold, with cached propagation next",
        why="on the inner level's own pairs bi-level training is joint training, and Z memorises (docs/decisions.md)",
    )
    folds: int = setting(
        10,
        "with --bilevel.outer_data fold: one in so many training pairs is the outer level's, in turn",
        unit="folds",
        why="leaves the inner level nine tenths; each pair is the outer level's once in ten epochs",
        ge=2,
    )

    def check(self) -> None:
        """Refuse what the penalty form does not have."""
        if self.hypergradient == "penalty" and self.inner_steps > 1:
            raise UserError("bilevel.inner_steps: --bilevel.hypergradient penalty moves all in every step; take 1")
