"""Group DRO: exponential weights on the groups' losses (Sagawa et al., ICLR 2020, algorithm 1).

w_k <- w_k exp(s L_k) / sum_j w_j exp(s L_j)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bifair_dist.bilevel.weights.rule import RuleContext

_LEAST = 1e-30  # a weight that underflowed to 0 could never come back


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDro:
    """Multiplicative ascent from the previous weights. `dro_step`: s, per unit of loss."""

    name: ClassVar[str] = "group_dro"
    needs_gram: ClassVar[bool] = False
    dro_step: float = 0.1

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.previous`."""
        log_previous = context.previous.to(losses).double().clamp_min(_LEAST).log()
        return torch.softmax(log_previous + self.dro_step * losses.detach().double(), dim=0).to(losses.dtype)
