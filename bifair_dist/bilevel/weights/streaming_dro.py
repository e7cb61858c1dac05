"""Streaming DRO: exponential weights on a running average of the groups' losses (Wen et al., WWW 2022).

    S_k <- (1 - r) S_k + r L_k                                   r: `stream_rate`; S_k starts at 0
    w_k <- w_k exp(s S_k) / sum_j w_j exp(s S_j)                 s: `dro_step`

"Distributionally-robust Recommendations for Improving Worst-case User Experience" minimises the worst group's loss as
group DRO does, on losses that are averaged over the batches so far, because a rare group's in one batch are noise.
Written after the equations as Acharya et al. (ECIR 2025, arXiv 2501.18117) released them, who name their line 6 in the
paper; there a group absent from a batch counts as one of loss 0, here its average stays. `GroupBalance` keeps S.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bifair_dist.bilevel.weights.group_dro import GroupDro
from bifair_dist.bilevel.weights.rule import RuleContext


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingDro:
    """Multiplicative ascent on averaged losses. `dro_step`: s, per unit of loss."""

    name: ClassVar[str] = "streaming_dro"
    needs_gram: ClassVar[bool] = False
    dro_step: float = 0.1

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.previous` and `context.streamed`."""
        return GroupDro(dro_step=self.dro_step)(context.streamed.to(losses), gram, context)
