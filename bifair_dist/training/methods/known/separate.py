"""First the projector, then the item vectors with the projector fixed: BiFair's ablation (its Figure 3)."""

from typing import ClassVar

from bifair_dist.training.methods.known.alpharec import AlphaRecMethod
from bifair_dist.training.methods.method import FairPhase


class Separate(AlphaRecMethod):
    """The two levels one after the other."""

    name: ClassVar[str] = "separate"
    about: ClassVar[str] = "projector first, then Z, fairness-aware"
    source: ClassVar[str] = "arXiv 2507.04294, Figure 3"
    fair: ClassVar[tuple[FairPhase, ...]] = (FairPhase("fair_theta", True, False), FairPhase("fair_z", False, True))
