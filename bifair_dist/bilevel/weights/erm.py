"""Empirical risk: w_k ~ the group's share of the batch, n_k / sum_j n_j, so that L_fair is the plain mean loss.

Exactly so where every positive is in one group; with several groups or none it is the mean over memberships instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bifair_dist.bilevel.weights.rule import RuleContext, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class Erm:
    """Weights by batch share: no balancing."""

    name: ClassVar[str] = "erm"
    needs_gram: ClassVar[bool] = False

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.counts`."""
        return normalised(context.counts.to(losses))
