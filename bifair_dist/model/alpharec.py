"""The AlphaRec backbone (Sheng et al., ICLR 2025, arXiv 2407.05441): projector, LightGCN, InfoNCE.

    x_i = g_theta(Z_i),    x_u = g_theta(mean of Z_i over the user's training items),    LightGCN, L2-normalise, cosine

The first layer is linear, so the user's mean may be taken before or after it: mean(Z_i) W1^T = mean(Z_i W1^T). It is
taken at the narrower side, after W1 where the hidden width is at most d; then the user side needs no dense product.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.batch import Batch
from bifair_dist.model.graph import Graph
from bifair_dist.model.infonce import info_nce
from bifair_dist.model.layout import Layout
from bifair_dist.model.projector import Theta, first, second, widths
from bifair_dist.model.propagation import light_gcn, mean_of_items


@dataclass(frozen=True, slots=True)
class AlphaRec:
    """The backbone on one graph.

    `user_inputs` [rows, d], when given, are the users' inputs held fixed (`users: frozen`); otherwise they follow Z.
    `low`: number format of the projector's products (forward and back) where it is not that of Z. Everything else,
    and what stands between the products, keeps Z's.
    """

    graph: Graph
    layout: Layout
    layers: int = 2
    tau: float = 0.15
    user_inputs: Tensor | None = None
    low: torch.dtype | None = None

    def node_columns(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """Propagated outputs before normalisation, as columns: users [U, k_here], items [N, k_here].

        `z` are the item rows held here, [m, d].
        """
        d, h, _ = widths(theta)
        n, layout = self.graph.n_items, self.layout
        item_hidden = self._first(theta, z)
        if self.user_inputs is not None:
            user_hidden = self._first(theta, self.user_inputs)
        elif h <= d:
            user_hidden = layout.to_rows(
                mean_of_items(layout.to_columns(item_hidden, n, "pool"), self.graph), h, "pool"
            )
        else:
            user_hidden = self._first(theta, self.pooled(z))
        users = layout.to_columns(self._second(theta, user_hidden), self.graph.n_users, "nodes")
        items = layout.to_columns(self._second(theta, item_hidden), n, "nodes")
        return self.propagate(users, items)

    def propagate(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """LightGCN over columns of all nodes, [U, c] and [N, c] -> the same shapes; no communication."""
        return light_gcn(users, items, self.graph, self.layers)

    def pooled(self, item_rows: Tensor) -> Tensor:
        """Mean over each user's training items, rows held here: [m, c] -> [m_users, c]."""
        columns = mean_of_items(self.layout.to_columns(item_rows, self.graph.n_items, "pool"), self.graph)
        return self.layout.to_rows(columns, item_rows.shape[1], "pool")

    def node_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """Propagated outputs before normalisation, as the rows held here: users [m_users, k], items [m, k]."""
        users, items = self.node_columns(theta, z)
        k = widths(theta)[2]
        return self.layout.to_rows(users, k, "ranking"), self.layout.to_rows(items, k, "ranking")

    def ranking_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """`node_rows`, each of length 1: their inner products are the cosines."""
        users, items = self.node_rows(theta, z)
        return F.normalize(users, dim=1), F.normalize(items, dim=1)

    def example_losses(self, theta: Theta, z: Tensor, batch: Batch) -> Tensor:
        """InfoNCE of the examples in this worker's slice of the batch, [b]."""
        users, items = self.node_columns(theta, z)
        u, plus, minus = self.layout.batch_rows(users, items, widths(theta)[2], batch)
        return info_nce(u, plus, minus, batch.masked, self.tau)

    def _first(self, theta: Theta, rows: Tensor) -> Tensor:
        with self._products(rows):
            return first(theta, rows)

    def _second(self, theta: Theta, hidden: Tensor) -> Tensor:
        with self._products(hidden):
            return second(theta, hidden)

    def _products(self, rows: Tensor) -> AbstractContextManager[object]:
        """Autocast for the projector alone; a pass without `low` leaves what its caller set."""
        return nullcontext() if self.low is None else torch.autocast(rows.device.type, self.low)
