"""Users and items that training did not see: the model's equations with the trained graph held fixed.

    user with history H    y_u = 1/(L+1) ( x_u + |H|^-1/2 sum over i in H of s_i / sqrt(d_i) ),
                           s_i = x_i^(0) + ... + x_i^(L-1)
        AlphaRec           x_u = g(mean of Z_i over H)             with a user's training items: exactly their vector
        id embeddings      x_u = mean of e_i over H                a new user has no e_u of their own
    item without pairs     y_i = g(z_i) / (L+1)                    LightGCN of an isolated node

The new user's own weight on the items (degrees, what flows back) is left out: a known user's vector does not change
when somebody else arrives. LightGCN: He et al., SIGIR 2020, eq. 3-4; x: arXiv 2407.05441.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.id_embeddings import IdEmbeddings
from bifair_dist.model.projector import Theta, first, second, widths


@dataclass(frozen=True, slots=True)
class Unseen:
    """What their vectors are made of, of all items in one place.

    `theta`: the projector, empty for id embeddings. `inputs` [N, w]: what a user's mean is taken of, at the narrower
    side of the first layer (Z W1^T where h <= d, else Z; or e_i). `lower` [N, k]: s_i / sqrt(d_i). `layers`: L.
    `unit`: whether ranking uses vectors of length 1.
    """

    theta: Theta
    inputs: Tensor
    lower: Tensor
    layers: int
    unit: bool

    @torch.no_grad()
    def users(self, histories: Csr) -> Tensor:
        """Ranking vectors [B, k] of users with these items; zeros for an empty history."""
        items, offsets = histories.columns, histories.indptr
        mean = F.embedding_bag(items, self.inputs, offsets, mode="mean", include_last_offset=True)
        lower = F.embedding_bag(items, self.lower, offsets, mode="sum", include_last_offset=True)
        counts = histories.counts().unsqueeze(1)
        own = self._second(mean) if self.theta else mean
        found = (own + lower * counts.clamp(min=1).to(lower.dtype).rsqrt()) / (self.layers + 1)
        return self._scaled(torch.where(counts > 0, found, torch.zeros_like(found)))

    @torch.no_grad()
    def items(self, z: Tensor) -> Tensor:
        """Ranking vectors [m, k] of items without interactions, from their representations `z` [m, d].

        Raises `ValueError` for id embeddings, which such an item does not have.
        """
        if not self.theta:
            raise ValueError("a model on id embeddings has no vector for an item that it was not trained on")
        return self._scaled(second(self.theta, first(self.theta, z)) / (self.layers + 1))

    def with_items(self, z: Tensor) -> Unseen:
        """The same with further items without interactions, which users may then have, `z` [m, d]."""
        d, h, _ = widths(self.theta)
        inputs = first(self.theta, z) if h <= d else z
        return replace(self, inputs=torch.cat([self.inputs, inputs]), lower=F.pad(self.lower, (0, 0, 0, len(z))))

    def _second(self, mean: Tensor) -> Tensor:
        d, h, _ = widths(self.theta)
        return second(self.theta, mean if h <= d else first(self.theta, mean))

    def _scaled(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=1) if self.unit else rows


@torch.no_grad()
def unseen_of_alpharec(model: AlphaRec, theta: Theta, z: Tensor, pooled_from: Tensor | None = None) -> Unseen:
    """Of a whole AlphaRec model. `pooled_from` [N, d]: what users' means are of where that is not `z` [N, d]."""
    d, h, _ = widths(theta)
    source = z if pooled_from is None else pooled_from
    below = replace(model, layers=max(model.layers - 1, 0)).node_rows(theta, z)[1]
    return Unseen(theta, first(theta, source) if h <= d else source, _lower(model, below), model.layers, True)


@torch.no_grad()
def unseen_of_ids(model: IdEmbeddings, z: Tensor) -> Unseen:
    """Of a whole MF or LightGCN model, `z` [N + U, k]."""
    below = replace(model, layers=max(model.layers - 1, 0)).node_rows({}, z)[1]
    return Unseen({}, model.own_rows(z)[1], _lower(model, below), model.layers, model.loss == "info_nce")


def _lower(model: AlphaRec | IdEmbeddings, below: Tensor) -> Tensor:
    """s_i / sqrt(d_i) from the mean of the layers 0..L-1: L times it is their sum, and nothing where L = 0."""
    return below * model.layers * model.graph.item_degree.rsqrt()
