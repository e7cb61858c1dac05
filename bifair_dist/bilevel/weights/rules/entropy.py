"""Entropy of the predicted losses: the adaptive balance of BiFair (arXiv 2507.04294, section 3.3), by Frank-Wolfe.

The losses that a step along d(w) = sum_k w_k g_k would leave, to first order, and their shares:

    L_k(w) = L_k - a (K w)_k,     S = sum_k L_k(w),     p = L(w) / S
    w* = argmax_w H(p),           d_w H = (a / S) K b,  b_k = log p_k + H

so weight goes where it lowers the losses that are above the others. The look-ahead is the share rho of the longest at
which no predicted loss can turn negative anywhere on the simplex,

    a = rho min_k L_k / max_j |K_kj|,   hence L_k(w) >= (1 - rho) L_k > 0,

and where all predicted losses are positive H(p(w)) is pseudoconcave, so a zero Frank-Wolfe gap certifies the optimum.

**Why a floor.** The optimum itself is often a vertex: with losses 2 and 6 and orthogonal gradients no admissible step
makes them equal, so all weight goes to the second; gradients that are alike, or one that dominates (it sets a), do
the same at nearly any losses. (Losses drawn from [2, 6], 9 groups: a tenth of the optima for independent gradients,
half where one dominates, four fifths where they share a direction.) Then the step ignores every other group, which is
the failure the paper names. So the search runs over the simplex shrunk towards its centre: every group keeps at least
floor / G, and no group has more than 1 - floor + floor / G. A floor of 0 is the bare problem. Direction as in EPO
search with equal preferences (Mahapatra & Rajan, ICML 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bifair_dist.bilevel.weights.frank_wolfe import STEPS, Solution, Vector, frank_wolfe
from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, to_float64, to_weights
from bifair_dist.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


class Entropy(WeightRule):
    """Maximise the entropy of the predicted loss shares.

    `rho` in (0, 1): look-ahead as a share of the longest admissible; `entropy_floor` in [0, 1): least weight of a
    group as a share of an even weight; `frank_wolfe_steps`: most iterations (T).
    """

    name: ClassVar[str] = "entropy"
    source: ClassVar[str] = "BiFair (arXiv 2507.04294), section 3.3"
    needs_gram: ClassVar[bool] = True
    rho: float = setting(
        0.5,
        "entropy: look-ahead, as a share of the largest at which no predicted loss can turn negative",
        unit="share",
        why="a real learning rate in its place puts all weight on one group",
        gt=0,
        lt=1,
    )
    entropy_floor: float = setting(
        0.5,
        "entropy: least weight of a group, as a share of an even weight; 0: the bare rule",
        unit="share",
        why="without it the optimum is often a vertex, which ignores all groups but one",
        ge=0,
        lt=1,
    )
    frank_wolfe_steps: int = STEPS

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]; `gram` is required. Uniform where no weights change the predicted losses (zero gradients)."""
        solution = self.solve(to_float64("group losses", losses), to_float64("Gram matrix", gram))
        return to_weights(solution.weights, losses)

    def solve(self, losses: Vector, gram: Vector) -> Solution:
        """The same in numpy float64, with the certificate (in nats, over the shrunk simplex)."""
        n = len(losses)
        # The look-ahead undoes any scale of the gradients; this one keeps tiny ones off underflow.
        gram = gram / (np.abs(gram).max() or 1.0)
        a = look_ahead(losses, gram, self.rho)
        keep = 1.0 - self.entropy_floor

        def shrunk(v: Vector) -> Vector:
            return self.entropy_floor / n + keep * v

        def gradient(v: Vector) -> Vector:
            return keep * entropy_gradient(losses, gram, a, shrunk(v))

        if a == 0.0:
            return Solution(np.full(n, 1.0 / n), 0.0, 0)
        inner = frank_wolfe(gradient, n, steps=self.frank_wolfe_steps, maximise=True)
        return Solution(shrunk(inner.weights), inner.gap, inner.iterations)


def look_ahead(losses: Vector, gram: Vector, rho: float) -> float:
    """rho min_k L_k / max_j |K_kj|; 0 for a zero Gram matrix or a loss that has reached zero."""
    reach = np.abs(gram).max(axis=1)
    moving = reach > 0
    if not moving.any() or losses.min() <= 0:
        return 0.0
    return float(rho * (losses[moving] / reach[moving]).min())


def predicted_entropy(losses: Vector, gram: Vector, a: float, w: Vector) -> float:
    """H(p(w)) in nats."""
    p = _shares(losses, gram, a, w)[0]
    return float(-(p * np.log(p)).sum())


def entropy_gradient(losses: Vector, gram: Vector, a: float, w: Vector) -> Vector:
    """d_w H = (a / S) K b with b_k = log p_k + H."""
    p, total = _shares(losses, gram, a, w)
    log_p = np.log(p)
    return (a / total) * (gram.T @ (log_p - p @ log_p))


def _shares(losses: Vector, gram: Vector, a: float, w: Vector) -> tuple[Vector, float]:
    predicted = losses - a * (gram @ w)
    total = float(predicted.sum())
    return predicted / total, total
