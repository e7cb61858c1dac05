"""What training and ranking ask of a recommender: a batch's losses, and rows whose inner products are the scores."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from bifair_dist.model.batch import Batch
from bifair_dist.model.graph import Graph
from bifair_dist.model.projector import Theta


class Backbone(Protocol):
    """A recommender on one graph, with parameters theta (replicated) and rows of Z held here."""

    @property
    def graph(self) -> Graph:
        """The training graph it propagates over."""
        ...

    def example_losses(self, theta: Theta, z: Tensor, batch: Batch) -> Tensor:
        """Loss of each example in this worker's slice of the batch, [b]."""
        ...

    def node_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs as the rows held here: users [m_users, k], items [m, k]."""
        ...

    def ranking_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same, scaled as the loss scales them: score = inner product."""
        ...
