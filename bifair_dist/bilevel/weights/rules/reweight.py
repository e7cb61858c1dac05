"""Inverse group size (the paper's Reweight baseline): w_k ~ 1 / N_k, N_k the size of the group in the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule, normalised

if TYPE_CHECKING:
    from torch import Tensor


class Reweight(WeightRule):
    """Small groups count for more; fixed over training."""

    name: ClassVar[str] = "reweight"
    source: ClassVar[str] = "the Reweight baseline of BiFair (arXiv 2507.04294)"

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] from `context.catalogue_sizes` (a group of size 0 counts as size 1)."""
        return normalised(1.0 / context.catalogue_sizes.to(losses).clamp_min(1.0))
