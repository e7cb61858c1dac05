"""MGDA with an entropy term that keeps every group's weight off zero.

    min over the simplex of  1/2 w' K w + lambda m sum_k w_k log w_k,    m = trace(K) / G

At lambda -> 0 this is MGDA (Sener & Koltun, NeurIPS 2018), at lambda -> infinity the uniform weights. Lambda counts
in units of the groups' mean squared gradient norm m, so one value serves models and phases whose gradients differ by
orders of magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bifair_dist.bilevel.weights.frank_wolfe import STEPS, Solution, Vector, frank_wolfe
from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, to_float64, to_weights
from bifair_dist.settings import setting

if TYPE_CHECKING:
    from torch import Tensor


class EntropyMgda(WeightRule):
    """Least norm of the summed gradient plus negative entropy of the weights.

    `entropy_lambda` > 0, in mean squared gradient norms; `frank_wolfe_steps`: most iterations (T).
    """

    name: ClassVar[str] = "entropy_mgda"
    source: ClassVar[str] = "Sener & Koltun, NeurIPS 2018, with an entropy term of ours"
    needs_gram: ClassVar[bool] = True
    entropy_lambda: float = setting(
        0.1,
        "entropy_mgda: weight of the entropy against the gradients' norm",
        unit="mean squared gradient norm",
        why="keeps every group's weight off zero",
        gt=0,
    )
    frank_wolfe_steps: int = STEPS

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]; `gram` is required, losses only give dtype and device."""
        return to_weights(self.solve(to_float64("Gram matrix", gram)).weights, losses)

    def solve(self, gram: Vector) -> Solution:
        """The same in numpy float64; the gap is in units of the largest entry of the Gram matrix."""
        n = len(gram)
        gram = gram / (np.abs(gram).max() or 1.0)
        scale = self.entropy_lambda * float(np.trace(gram)) / n

        def gradient(w: Vector) -> Vector:
            with np.errstate(divide="ignore"):  # -inf on the boundary is the true slope there
                return gram @ w + scale * (np.log(w) + 1.0)

        if scale == 0.0:
            return Solution(np.full(n, 1.0 / n), 0.0, 0)
        return frank_wolfe(gradient, n, steps=self.frank_wolfe_steps)
