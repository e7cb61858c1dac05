"""How the backbone asks for rows and columns, and the trivial answer when everything is in one place.

The backbone needs two views of a node matrix: rows (a node's whole vector, for the projector and the loss) and columns
(all nodes, for the graph). `Whole` holds both at once, so each change of view is the identity. The sharded answer is
`bifair_dist.parallel.layout.Sharded`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from bifair_dist.model.batch import Batch


class Layout(Protocol):
    """Changes of view; each is linear and differentiable, with the mirrored change as its derivative."""

    def to_columns(self, rows: Tensor, n: int, tag: str) -> Tensor:
        """The rows held here, [m, c] of an n x c matrix -> the columns held here, [n, c_here]."""
        ...

    def to_rows(self, columns: Tensor, width: int, tag: str) -> Tensor:
        """Columns held here, [n, c_here] of an n x width matrix -> the rows held here, [m, width]."""
        ...

    def batch_rows(self, users: Tensor, items: Tensor, width: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Columns of all users and items -> full rows of the batch's slice: users, positives [b, width] and negatives.

        Negatives are [K, width] when shared by the batch, else [b, K, width].
        """
        ...


class Whole:
    """Everything in one place."""

    def to_columns(self, rows: Tensor, n: int, tag: str) -> Tensor:
        """The identity."""
        return rows

    def to_rows(self, columns: Tensor, width: int, tag: str) -> Tensor:
        """The identity."""
        return columns

    def batch_rows(self, users: Tensor, items: Tensor, width: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Plain indexing."""
        negatives = items.index_select(0, batch.negatives.reshape(-1)).view(*batch.negatives.shape, width)
        return users.index_select(0, batch.users), items.index_select(0, batch.positives), negatives
