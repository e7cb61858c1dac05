"""Equal weights: w_k = 1 / G, so L_fair is the mean of the groups' mean losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule

if TYPE_CHECKING:
    from torch import Tensor


class Uniform(WeightRule):
    """The same weight for every group, whatever its size or loss."""

    name: ClassVar[str] = "uniform"
    source: ClassVar[str] = "equal weights, the control"

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]."""
        return losses.new_full(losses.shape, 1.0 / len(losses))
