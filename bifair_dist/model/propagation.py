"""LightGCN propagation (He et al., SIGIR 2020, eq. 3-4) and the mean of a user's items, as products with the graph.

    X^(l+1) = D^-1/2 A D^-1/2 X^(l),    output = mean of X^(0) .. X^(L)             (no self loops, no weights)
    pooled_u = 1/|N_u| sum over i in N_u of X_i                                     (AlphaRec's user input)

Both are linear and act on every column by itself: this is what lets `parallel/` give each worker a few columns of all
nodes and run all layers without communication.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.labels import labelled
from bifair_dist.model.graph import Graph

NARROW = 32
ROWS = 1 << 14
CACHE = 1 << 21
"""Bytes of a core's own cache (2 MiB on the Xeons measured). Up to 4 times that blocks paid: 65,536 rows."""


class SparseProduct(torch.autograd.Function):
    """A @ x for a constant CSR matrix A whose transpose is at hand, differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        """x [columns of A, c] -> [rows of A, c]."""
        ctx.matrix, ctx.transposed = matrix, transposed
        return product(matrix, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The transpose applied to the gradient, itself through `SparseProduct` so that it can be differentiated."""
        return SparseProduct.apply(grads[0].contiguous(), ctx.transposed, ctx.matrix), None, None


def product(matrix: Tensor, x: Tensor) -> Tensor:
    """A @ x for a CSR matrix A of ones: row r of the result is the sum of the rows of x that row r of A lists.

    On the CPU in float32 torch's `embedding_bag` is the faster of its two ways to do this from 32 columns on (1.3 to 2
    times on ml-1m's graph); in float64 and below 32 columns the sparse product is. It reads rows of x at random, so
    x goes through in blocks of columns that stay in a core's cache.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu" or x.shape[1] < NARROW:
        return matrix @ x
    block = block_columns(*x.shape)
    if block >= x.shape[1]:
        return _sums_of_rows(matrix, x)
    out = x.new_empty(matrix.shape[0], x.shape[1])
    for part, into in zip(x.split(block, dim=1), out.split(block, dim=1), strict=True):
        into.copy_(_sums_of_rows(matrix, part.contiguous()))
    return out


def product_into(matrix: Tensor, x: Tensor, out: Tensor) -> Tensor:
    """A @ x written over `out`, without a gradient; a large one a block of rows at a time, so that no other is made."""
    if (
        x.dtype != torch.float32
        or x.device.type != "cpu"
        or x.shape[1] < NARROW
        or block_columns(*x.shape) < x.shape[1]
    ):
        return out.copy_(product(matrix, x))
    starts, columns = matrix.crow_indices(), matrix.col_indices()
    for at in range(0, len(out), ROWS):
        offsets = starts[at : at + ROWS + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        sums = F.embedding_bag(columns[first:last], x, offsets - first, mode="sum", include_last_offset=True)
        out[at : at + ROWS] = sums
    return out


def block_columns(n: int, width: int) -> int:
    """Columns of an n x `width` matrix to sum at a time; all of them where not even 32 would stay in the cache."""
    if 4 * n * NARROW > 4 * CACHE:
        return width
    return max(NARROW, CACHE // (4 * n) // NARROW * NARROW) if n else width


def _sums_of_rows(matrix: Tensor, x: Tensor) -> Tensor:
    return F.embedding_bag(matrix.col_indices(), x, matrix.crow_indices(), mode="sum", include_last_offset=True)


def to_users(x: Tensor, graph: Graph) -> Tensor:
    """Sum of the item rows of each user: [N, c] -> [U, c]."""
    return SparseProduct.apply(x.contiguous(), graph.forward, graph.backward)


def to_items(x: Tensor, graph: Graph) -> Tensor:
    """Sum of the user rows of each item: [U, c] -> [N, c]."""
    return SparseProduct.apply(x.contiguous(), graph.backward, graph.forward)


@labelled("propagation")
def mean_of_items(x: Tensor, graph: Graph) -> Tensor:
    """Mean over each user's training items: [N, c] -> [U, c]."""
    return to_users(x, graph).div_(graph.user_degree)


@labelled("propagation")
def light_gcn(users: Tensor, items: Tensor, graph: Graph, layers: int) -> tuple[Tensor, Tensor]:
    """Mean of layers 0..L: users [U, c], items [N, c] -> the same shapes."""
    if layers == 0:
        return users, items
    out: tuple[Tensor, Tensor] = LightGcn.apply(users, items, graph, layers)
    return out


class LightGcn(torch.autograd.Function):
    """The mean of the powers 0..L of a symmetric matrix: it is its own transpose, so its backward is itself."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, graph: Graph, layers: int) -> tuple[Tensor, Tensor]:
        """Horner's scheme y <- x + S y for both sides, S the normalised adjacency, on y scaled by D^-1/2."""
        ctx.graph, ctx.layers = graph, layers
        du, di = graph.user_degree, graph.item_degree
        su, si = du.rsqrt(), di.rsqrt()
        x_users, x_items = su * users, si * items
        y_users, y_items = x_users, x_items
        for _ in range(layers - 1):
            from_items, from_users = product(graph.forward, y_items), product(graph.backward, y_users)
            y_users, y_items = from_items.div_(du).add_(x_users), from_users.div_(di).add_(x_items)
        from_items, from_users = product(graph.forward, y_items), product(graph.backward, y_users)
        return _mean(from_items, su, users, layers), _mean(from_users, si, items, layers)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The same function of the gradients, through `LightGcn` so that it can be differentiated."""
        users, items = LightGcn.apply(*grads, ctx.graph, ctx.layers)
        return users, items, None, None


def _mean(last: Tensor, scale: Tensor, own: Tensor, layers: int) -> Tensor:
    return last.mul_(scale).add_(own).div_(layers + 1)
