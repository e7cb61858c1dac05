"""Group DRO: exponential weights on the groups' losses (Sagawa et al., ICLR 2020, algorithm 1).

w_k <- w_k exp(s L_k) / sum_j w_j exp(s L_j)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule
from bifair_dist.settings import setting

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-30  # a weight that underflowed to 0 could never come back


class GroupDro(WeightRule):
    """Multiplicative ascent from the previous weights. `dro_step`: s, per unit of loss."""

    name: ClassVar[str] = "group_dro"
    source: ClassVar[str] = "Sagawa et al., ICLR 2020, algorithm 1"
    dro_step: float = setting(
        0.1,
        "group_dro, streaming_dro: step of the exponential weights",
        unit="per unit of loss",
        gt=0,
        why="reacts within tens of recomputations",
    )

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.previous`."""
        log_previous = context.previous.to(losses).double().clamp_min(_LEAST).log()
        return (log_previous + self.dro_step * losses.detach().double()).softmax(dim=0).to(losses.dtype)
