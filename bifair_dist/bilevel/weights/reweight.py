"""Inverse group size (the paper's Reweight baseline): w_k ~ 1 / N_k, N_k the size of the group in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bifair_dist.bilevel.weights.rule import RuleContext, normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class Reweight:
    """Small groups count for more; fixed over training."""

    name: ClassVar[str] = "reweight"
    needs_gram: ClassVar[bool] = False

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.catalogue_sizes` (a group of size 0 counts as size 1)."""
        return normalised(1.0 / context.catalogue_sizes.to(losses).clamp_min(1.0))
