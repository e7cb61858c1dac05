"""MGDA: the common descent direction of least norm (Desideri 2012; Sener & Koltun, NeurIPS 2018, equation 3).

    min over the simplex of  1/2 || sum_k w_k g_k ||^2 = 1/2 w' K w

Weight goes to groups with small gradients, so a group that is learnt already can take it all. That is the rule as
published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bifair_dist.bilevel.weights.frank_wolfe import STEPS, Solution, Vector, frank_wolfe
from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, to_float64, to_weights

if TYPE_CHECKING:
    from torch import Tensor


class Mgda(WeightRule):
    """Least norm of the summed gradient. `frank_wolfe_steps`: most iterations (T)."""

    name: ClassVar[str] = "mgda"
    source: ClassVar[str] = "Desideri 2012; Sener & Koltun, NeurIPS 2018, equation 3"
    needs_gram: ClassVar[bool] = True
    frank_wolfe_steps: int = STEPS

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]; `gram` is required, losses only give dtype and device."""
        return to_weights(self.solve(to_float64("Gram matrix", gram)).weights, losses)

    def solve(self, gram: Vector) -> Solution:
        """The same in numpy float64; the gap is in units of the largest entry of the Gram matrix."""
        gram = gram / (np.abs(gram).max() or 1.0)
        return frank_wolfe(lambda w: gram @ w, len(gram), steps=self.frank_wolfe_steps)
