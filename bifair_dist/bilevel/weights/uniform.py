"""Equal weights: w_k = 1 / G, so L_fair is the mean of the groups' mean losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bifair_dist.bilevel.weights.rule import RuleContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """The same weight for every group, whatever its size or loss."""

    name: ClassVar[str] = "uniform"
    needs_gram: ClassVar[bool] = False

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G]."""
        return torch.full_like(losses, 1.0 / len(losses))
