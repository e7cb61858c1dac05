"""Group weights learned on the held-out pairs (after Ren et al., ICML 2018, arXiv 1803.09050, by group).

    L_out   = T log sum_j exp(L_j / T)                       smooth worst group of the fold; T: spread of the L_j
    v       = d_theta L_out = sum_j c_j g'_j,                c = softmax(L / T),  g'_j = d_theta L_j on the fold
    w_k    <- w_k exp(s <g_k, v> / max_j |<g_j, v>|) / sum   g_k = d_theta L_k on the inner level's batch

A gradient step of the inner level with weights w changes L_out by -lr sum_k w_k <g_k, v>, so a group gains weight where
learning it helps whoever is served worst on pairs that were not learned: also another group than that one. The
exponential keeps the simplex. The inner optimiser's scaling is left out of the inner product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, to_float64, to_weights
from bifair_dist.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-3  # share of an even weight: one that vanished could never come back


class Meta(WeightRule):
    """Multiplicative steps along the inner products. `meta_step`: s, the most that a log-weight moves."""

    name: ClassVar[str] = "meta"
    source: ClassVar[str] = "after Ren et al., ICML 2018 (arXiv 1803.09050), by group"
    needs_gram: ClassVar[bool] = True
    across: ClassVar[bool] = True
    meta_step: float = setting(
        0.1,
        "meta: the most that a group's log-weight moves at a recomputation",
        unit="log-weight",
        why="as group_dro's: reacts within tens of recomputations",
        gt=0,
    )

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]; `gram` K_kj = g_k . g'_j is required. The previous ones where nothing helps or harms."""
        found, inner = to_float64("group losses", losses), to_float64("Gram matrix", gram)
        spread = float(found.std())
        c = np.exp((found - found.max()) / spread) if spread > 0 else np.ones(len(found))
        helped = inner @ (c / c.sum())
        most = float(np.abs(helped).max())
        previous = np.maximum(to_float64("weights", context.previous), _LEAST / len(found))
        weights = previous * np.exp(self.meta_step * helped / most) if most > 0 else previous
        return to_weights(weights / weights.sum(), losses)
