"""The projector alone on the fairness-aware loss, as the published weighting rules are used."""

from typing import ClassVar

from bifair_dist.training.methods.known.alpharec import AlphaRecMethod
from bifair_dist.training.methods.method import FairPhase


class ThetaOnly(AlphaRecMethod):
    """AlphaRec's phase, then theta with `balance.*`; Z stays as it is."""

    name: ClassVar[str] = "theta_only"
    about: ClassVar[str] = "projector alone, then with --balance.*"
    source: ClassVar[str] = "the papers of the rules (docs/baselines.md)"
    fair: ClassVar[tuple[FairPhase, ...]] = (FairPhase("fair_theta", True, False),)
