"""A full forward pass without a gradient, in blocks: the widest matrix that is made is one of inputs or outputs.

    zbar = mean of each user's item rows [U, d],    X = g_theta(zbar; Z) [U + N, k],    [Y, r] = P [X, 1]

P = mean of the powers 0..L of the normalised adjacency (propagation.py). A step with a gradient keeps hidden rows of
all nodes, (N + U) x h; here they are made and dropped `ROWS` at a time, and users are pooled `COLUMNS` at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import Graph
from bifair_dist.model.projector import Theta, first, second, widths
from bifair_dist.model.propagation import light_gcn, mean_of_items, to_items

ROWS, COLUMNS = 1 << 14, 64


def user_inputs(model: AlphaRec, z: Tensor) -> Tensor:
    """The users' inputs, rows held here [m_users, d]: those held fixed, or the means of their items' rows as they are.

    A row is a sum over the user's items in every column by itself, so columns can be taken a few at a time.
    """
    if model.user_inputs is not None:
        return model.user_inputs
    out = z.new_empty(0, z.shape[1])
    for at in range(0, z.shape[1], COLUMNS):
        columns = z.detach()[:, at : at + COLUMNS].contiguous()
        pooled = model.pooled(columns.to(model.graph.user_degree.device))
        if at == 0:
            out = pooled.new_empty(pooled.shape[0], z.shape[1])
        out[:, at : at + COLUMNS] = pooled
    return out


def projected(theta: Theta, rows: Tensor) -> Tensor:
    """g_theta of rows [m, d], which may be elsewhere than theta, without a gradient: [m, k]."""
    device = next(iter(theta.values())).device
    out = torch.empty(rows.shape[0], widths(theta)[2], dtype=rows.dtype, device=device)
    for part, into in zip(rows.detach().split(ROWS), out.split(ROWS), strict=True):
        into.copy_(second(theta, first(theta, part.to(device))))
    return out


def propagated(model: AlphaRec, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """P x for the rows held here, [m_users, c] and [m, c] -> the same shapes."""
    layout, graph, width = model.layout, model.graph, users.shape[1]
    columns = (layout.to_columns(users, graph.n_users, "nodes"), layout.to_columns(items, graph.n_items, "nodes"))
    out = light_gcn(*columns, graph, model.layers)
    return layout.to_rows(out[0], width, "nodes"), layout.to_rows(out[1], width, "nodes")


def own_weight(graph: Graph, layers: int) -> tuple[Tensor, Tensor]:
    """P_nn of every node, [U, 1] and [N, 1]: how much of a node's own input its output has.

    (S^2)_nn = sum_j 1 / (d_n d_j); odd powers have none, the graph has two sides. The fourth power and those above are
    left out (they need products of the graph with itself): a lower bound from L = 4 on.
    """
    if layers < 2:
        return (torch.ones_like(graph.user_degree) / (layers + 1), torch.ones_like(graph.item_degree) / (layers + 1))
    users = mean_of_items(1 / graph.item_degree, graph)
    items = to_items(1 / graph.user_degree, graph) / graph.item_degree
    return (1 + users) / (layers + 1), (1 + items) / (layers + 1)


@dataclass(frozen=True, slots=True)
class InBlocks(AlphaRec):
    """AlphaRec as ranking asks for it, in blocks."""

    @torch.no_grad()
    def node_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """As `AlphaRec.node_rows`, without a gradient."""
        return propagated(self, projected(theta, user_inputs(self, z)), projected(theta, z))

    def ranking_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """`node_rows`, each of length 1."""
        users, items = self.node_rows(theta, z)
        return F.normalize(users, dim=1), F.normalize(items, dim=1)
