"""MF and LightGCN on id embeddings: a free vector for every item and user, trained directly; no projector.

    e_i, e_u   rows of one matrix E [N + U, k], items first
    MF         outputs = E                                    (Koren et al., 2009; with BPR: Rendle et al., UAI 2009)
    LightGCN   outputs = mean of the layers 0..L of propagated E           (He et al., SIGIR 2020, eq. 3-4 and 8)
    loss       BPR on inner products, or InfoNCE on cosines, + l2 / 2 (|e_u|^2 + |e_i+|^2 + mean_j |e_j|^2)   (eq. 15)

E takes the place of Z: every worker trains, averages and stores its own rows of it. MF is LightGCN without layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.batch import Batch
from bifair_dist.model.bpr import bpr
from bifair_dist.model.graph import Graph
from bifair_dist.model.infonce import info_nce
from bifair_dist.model.layout import Layout
from bifair_dist.model.projector import Theta
from bifair_dist.model.propagation import light_gcn


@dataclass(frozen=True, slots=True)
class IdEmbeddings:
    """MF (`layers` 0) or LightGCN on one graph. The `z` of its methods are the rows of E held here, [m, k]."""

    graph: Graph
    layout: Layout
    layers: int
    loss: Literal["info_nce", "bpr"] = "bpr"
    tau: float = 0.15
    l2: float = 0.0

    def columns(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """E as columns: users [U, k_here], items [N, k_here]."""
        n = self.graph.n_items
        nodes = self.layout.to_columns(z, n + self.graph.n_users, "nodes")
        items, users = nodes.split([n, self.graph.n_users])  # unlike two slices, put together once in the backward pass
        return users, items

    def own_rows(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """E itself, shared out as items and users are: users [m_users, k], items [m_items, k]."""
        users, items = self.columns(z)
        return self._rows(users, z), self._rows(items, z)

    def node_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """Propagated outputs as the rows held here: users [m_users, k], items [m_items, k]."""
        users, items = light_gcn(*self.columns(z), self.graph, self.layers)
        return self._rows(users, z), self._rows(items, z)

    def ranking_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """`node_rows`, of length 1 under InfoNCE: their inner products are the scores that the loss compares."""
        users, items = self.node_rows(theta, z)
        if self.loss == "info_nce":
            return F.normalize(users, dim=1), F.normalize(items, dim=1)
        return users, items

    def example_losses(self, theta: Theta, z: Tensor, batch: Batch) -> Tensor:
        """Loss of the examples in this worker's slice of the batch, [b]."""
        own = self.columns(z)
        outputs = light_gcn(*own, self.graph, self.layers)
        u, plus, minus = self.layout.batch_rows(*outputs, z.shape[1], batch)
        if self.loss == "info_nce":
            losses = info_nce(u, plus, minus, batch.masked, self.tau)
        else:
            losses = bpr(u, plus, minus, batch.masked)
        if self.l2 == 0:
            return losses
        if self.layers > 0:
            u, plus, minus = self.layout.batch_rows(*own, z.shape[1], batch)
        squares = u.square().sum(1) + plus.square().sum(1) + minus.square().sum(-1).mean(-1)
        return losses + 0.5 * self.l2 * squares

    def _rows(self, columns: Tensor, z: Tensor) -> Tensor:
        return self.layout.to_rows(columns, z.shape[1], "ranking")
