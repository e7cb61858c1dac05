"""AlphaRec: the projector alone on the plain loss, Z fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bifair_dist.training.methods.on_vectors import OnVectors

if TYPE_CHECKING:
    from torch import Tensor

    from bifair_dist.model.backbone import Backbone
    from bifair_dist.model.graph import Graph
    from bifair_dist.model.projector import Theta
    from bifair_dist.model.unseen import Unseen
    from bifair_dist.parallel.comm import Comm
    from bifair_dist.training.settings import TrainSettings


class AlphaRecMethod(OnVectors):
    """The plain backbone; the methods that balance groups go on from it."""

    name: ClassVar[str] = "alpharec"
    about: ClassVar[str] = "projector alone, plain loss"
    source: ClassVar[str] = "Sheng et al., ICLR 2025 (arXiv 2407.05441)"
    cached: ClassVar[bool] = True

    def model(self, settings: TrainSettings, graph: Graph, comm: Comm) -> Backbone:
        """Under cached propagation it ranks in blocks."""
        from bifair_dist.model.alpharec import AlphaRec
        from bifair_dist.model.refresh import InBlocks
        from bifair_dist.parallel.layout import Sharded

        kind = InBlocks if settings.model.propagation == "cached" else AlphaRec
        return kind(graph, Sharded(comm), settings.model.num_layers, settings.model.temperature)

    def unseen(self, model: Backbone, theta: Theta, z: Tensor, pooled_from: Tensor | None) -> Unseen:
        """LightGCN's and the projector's equations with the graph held fixed."""
        from bifair_dist.model.alpharec import AlphaRec
        from bifair_dist.model.refresh import InBlocks
        from bifair_dist.model.unseen import unseen_of_alpharec

        if type(model) not in (AlphaRec, InBlocks):  # a backbone of somebody's own has equations of its own
            return super().unseen(model, theta, z, pooled_from)
        assert isinstance(model, AlphaRec)
        return unseen_of_alpharec(model, theta, z, pooled_from)
