"""Matrix factorisation: inner products of id embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.training.methods.on_ids import OnIds

if TYPE_CHECKING:
    from bifair_dist.training.settings import TrainSettings


class MatrixFactorisation(OnIds):
    """LightGCN without layers."""

    name: ClassVar[str] = "mf"
    about: ClassVar[str] = "id embeddings, plain loss"
    source: ClassVar[str] = "Koren et al., 2009; Rendle et al., UAI 2009"

    def layers(self, settings: TrainSettings) -> int:
        """None, whatever `model.num_layers` is."""
        return 0
