"""Streaming DRO: exponential weights on a running average of the groups' losses (Wen et al., WWW 2022).

    S_k <- (1 - r) S_k + r L_k                                   r: `stream_rate`; S_k starts at 0
    w_k <- w_k exp(s S_k) / sum_j w_j exp(s S_j)                 s: `dro_step`

"Distributionally-robust Recommendations for Improving Worst-case User Experience" minimises the worst group's loss as
group DRO does, on losses that are averaged over the batches so far, because a rare group's in one batch are noise.
Written after the equations as Acharya et al. (ECIR 2025, arXiv 2501.18117) released them, who name their line 6 in the
paper; there a group absent from a batch counts as one of loss 0, here its average stays. `GroupBalance` keeps S.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import RuleContext
from bifair_dist.bilevel.weights.rules.group_dro import GroupDro

if TYPE_CHECKING:
    from torch import Tensor


class StreamingDro(GroupDro):
    """Multiplicative ascent on averaged losses. `dro_step`: s, per unit of loss."""

    name: ClassVar[str] = "streaming_dro"
    source: ClassVar[str] = "Wen et al., WWW 2022, after Acharya et al., ECIR 2025 (arXiv 2501.18117)"

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.previous` and `context.streamed`."""
        return super().__call__(context.streamed.to(losses), gram, context)
