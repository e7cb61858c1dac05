"""The user-item training graph: two CSR index structures with unit entries, scaled at the nodes.

Built from sorted arrays without a loop (a dense or per-row build took others 240-511 GiB: RecBole#519).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from bifair_dist.csr import Csr

# torch prints a beta notice the first time a CSR tensor is made; it says nothing a user can act on.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


@dataclass(frozen=True, slots=True)
class Graph:
    """Interactions as a U x N matrix R of ones (`forward`) and its transpose (`backward`), both torch CSR.

    `user_degree` [U, 1] and `item_degree` [N, 1] are the row sums, in the dtype of the entries; never below 1, so that
    an isolated node divides by one and stays zero.
    """

    forward: Tensor
    backward: Tensor
    user_degree: Tensor
    item_degree: Tensor

    @property
    def n_users(self) -> int:
        """U."""
        return self.forward.shape[0]

    @property
    def n_items(self) -> int:
        """N."""
        return self.forward.shape[1]

    @property
    def n_edges(self) -> int:
        """E, each interaction once."""
        return self.forward.values().numel()

    @property
    def items_of_users(self) -> Csr:
        """The rows of R, in the graph's own memory."""
        return Csr(self.forward.crow_indices(), self.forward.col_indices())

    @property
    def users_of_items(self) -> Csr:
        """The rows of its transpose, likewise."""
        return Csr(self.backward.crow_indices(), self.backward.col_indices())

    def to(self, device: torch.device) -> Graph:
        """The graph on another device."""
        return Graph(*(t.to(device) for t in (self.forward, self.backward, self.user_degree, self.item_degree)))


def build_graph(user: Tensor, item: Tensor, n_users: int, n_items: int, dtype: torch.dtype = torch.float32) -> Graph:
    """Graph of the pairs (user[e], item[e]), int64 or int32 [E]; duplicates count once.

    Indices are stored as int32 where they fit: half the bytes to read in a product that is bound by memory. `item` as
    int32 is not copied where the pairs are sorted by user and item.
    """
    small = torch.int32 if max(user.numel(), n_users, n_items) < 2**31 - 1 else torch.int64
    users = Csr.over(user, item, n_users)
    users = Csr(users.indptr, users.columns.to(small))
    items = users.transposed(n_items)
    ones = torch.ones(users.columns.numel(), dtype=dtype, device=user.device)

    def matrix(rows: Csr, n_rows: int, n_columns: int) -> Tensor:
        return torch.sparse_csr_tensor(
            rows.indptr.to(small), rows.columns.to(small), ones, (n_rows, n_columns), check_invariants=False
        )

    def degree(rows: Csr) -> Tensor:
        return rows.counts().clamp(min=1).to(dtype).unsqueeze(1)

    return Graph(
        forward=matrix(users, n_users, n_items),
        backward=matrix(items, n_items, n_users),
        user_degree=degree(users),
        item_degree=degree(items),
    )
