"""A full forward pass without a gradient, in blocks: the widest matrix that is made is one of inputs or outputs.

    zbar = mean of each user's item rows [U, d],    X = g_theta(zbar; Z) [U + N, k],    Y = P X

P = mean of the powers 0..L of the normalised adjacency (propagation.py). A step with a gradient keeps hidden rows of
all nodes, (N + U) x h; here they are made and dropped `ROWS` at a time, and users are pooled `COLUMNS` at a time.
Results go into memory that is there already, where it is given: at 1 M items the system took a third of a refresh to
hand out cleared pages.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import Graph
from bifair_dist.model.projector import Theta, first, second, widths
from bifair_dist.model.propagation import light_gcn, mean_of_items, product_into, to_items

ROWS, COLUMNS = 1 << 14, 64


def user_inputs(model: AlphaRec, z: Tensor, out: Tensor | None = None) -> Tensor:
    """The users' inputs, rows held here [m_users, d]: those held fixed, or the means of their items' rows as they are.

    A row is a sum over the user's items in every column by itself, so columns can be taken a few at a time.
    """
    if model.user_inputs is not None:
        return model.user_inputs
    graph, layout = model.graph, model.layout
    rows = sums = graph.user_degree.new_empty(0, 0)
    for at in range(0, z.shape[1], COLUMNS):
        part = z.detach()[:, at : at + COLUMNS]
        rows = rows if rows.shape == part.shape else rows.new_empty(part.shape)
        columns = layout.to_columns(rows.copy_(part), graph.n_items, "pool")
        shape = (graph.n_users, columns.shape[1])
        sums = sums if sums.shape == shape else sums.new_empty(shape)
        means = product_into(graph.forward, columns, sums).div_(graph.user_degree)
        pooled = layout.to_rows(means, part.shape[1], "pool")
        if out is None:
            out = pooled.new_empty(pooled.shape[0], z.shape[1])
        out[:, at : at + COLUMNS] = pooled
    assert out is not None
    return out


def projected(theta: Theta, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """g_theta of rows [m, d], which may be elsewhere than theta, without a gradient: [m, k]."""
    device = next(iter(theta.values())).device
    if out is None:
        out = torch.empty(rows.shape[0], widths(theta)[2], dtype=rows.dtype, device=device)
    for part, into in zip(rows.detach().split(ROWS), out.split(ROWS), strict=True):
        into.copy_(second(theta, first(theta, part.to(device))))
    return out


def propagated(
    model: AlphaRec, users: Tensor, items: Tensor, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """P x for the rows held here, [m_users, c] and [m, c] -> the same shapes, in `out` where it is given.

    The scheme of `LightGcn`; the two sides take turns in two matrices, and the last layer's is `out` on one worker.
    """
    layout, graph, layers, width = model.layout, model.graph, model.layers, users.shape[1]
    x = (layout.to_columns(users, graph.n_users, "nodes"), layout.to_columns(items, graph.n_items, "nodes"))
    spare = (torch.empty_like(x[0]), torch.empty_like(x[1]))
    last = out if out is not None and out[0].shape == x[0].shape else (torch.empty_like(x[0]), torch.empty_like(x[1]))
    degrees = (graph.user_degree, graph.item_degree)
    y, other = (last, spare) if layers % 2 == 0 else (spare, last)
    for into, start, degree in zip(y, x, degrees, strict=True):
        torch.mul(start, degree.rsqrt() if layers else torch.ones_like(degree), out=into)
    for layer in range(1, layers + 1):
        product_into(graph.forward, y[1], other[0])
        product_into(graph.backward, y[0], other[1])
        for into, start, degree in zip(other, x, degrees, strict=True):
            if layer < layers:
                into.div_(degree).addcmul_(start, degree.rsqrt())
            else:
                into.mul_(degree.rsqrt()).add_(start).div_(layers + 1)
        y, other = other, y
    found = (layout.to_rows(y[0], width, "nodes"), layout.to_rows(y[1], width, "nodes"))
    if out is None or found[0] is out[0]:
        return found
    return out[0].copy_(found[0]), out[1].copy_(found[1])


def reach(graph: Graph, layers: int) -> tuple[Tensor, Tensor]:
    """P 1, [U, 1] and [N, 1]."""
    return light_gcn(torch.ones_like(graph.user_degree), torch.ones_like(graph.item_degree), graph, layers)


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
