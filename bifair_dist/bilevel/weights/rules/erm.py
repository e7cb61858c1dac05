"""Empirical risk: w_k ~ the group's share of the batch, n_k / sum_j n_j, so that L_fair is the plain mean loss.

Exactly so where every positive is in one group; with several groups or none it is the mean over memberships instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, normalised

if TYPE_CHECKING:
    from torch import Tensor


class Erm(WeightRule):
    """Weights by batch share: no balancing."""

    name: ClassVar[str] = "erm"
    source: ClassVar[str] = "empirical risk, the control"

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.counts`."""
        return normalised(context.counts.to(losses))
