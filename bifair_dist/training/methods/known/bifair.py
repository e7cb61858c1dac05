"""BiFair (arXiv 2507.04294): after AlphaRec's phase, projector and item vectors together, bi-level."""

from typing import ClassVar

from bifair_dist.training.methods.known.alpharec import AlphaRecMethod
from bifair_dist.training.methods.method import FairPhase


class BiFair(AlphaRecMethod):
    """theta at the inner level, Z at the outer one."""

    name: ClassVar[str] = "bifair"
    about: ClassVar[str] = "projector and Z together, fairness-aware"
    source: ClassVar[str] = "arXiv 2507.04294"
    fair: ClassVar[tuple[FairPhase, ...]] = (FairPhase("bilevel", True, True),)
