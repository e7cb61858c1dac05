"""Adam on some rows of a matrix at a time: a step costs what it touches, whatever the matrix has.

    t_r <- t_r + 1,   m_r <- b1 m_r + (1 - b1) g_r,   v_r <- b2 v_r + (1 - b2) g_r^2                  rows r touched
    z_r <- z_r - lr (m_r / (1 - b1^t_r)) / (sqrt(v_r / (1 - b2^t_r)) + eps)

Adam (Kingma & Ba, ICLR 2015) with a step count for each row, so that a row's first gradient is corrected as a first
one, whenever it comes. Where all rows are touched in every step it is Adam. A row that is not touched does not move;
torch's SparseAdam does the same with one count for all rows, which makes late rows start too slowly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.parallel.tables import Tables

B1, B2, EPS = 0.9, 0.999, 1e-8
"""torch's own for Adam."""


class LazyAdam(torch.optim.Optimizer):
    """On `table` [m, d]; `state[table]` holds `exp_avg`, `exp_avg_sq` [m, d] and `steps` float32 [m, 1].

    Before each step `take` names the rows; it returns them as a leaf, whose gradient `step` uses. The moments are made
    by `tables`, and the rows come to its device; none given: all where the table is.
    """

    def __init__(self, table: Tensor, lr: float, tables: Tables | None = None) -> None:
        super().__init__([table], {"lr": lr})
        self.table, self.tables = table, tables or Tables(table.device)
        self.rows = torch.empty(0, dtype=torch.int64)
        self.values = table.detach()[:0]
        slots = self.state[table]
        for moment in ("exp_avg", "exp_avg_sq"):
            slots[moment] = self.tables.zeros(table.shape, table.dtype)
        slots["steps"] = torch.zeros(table.shape[0], 1, dtype=torch.float32, device=table.device)

    def take(self, rows: Tensor) -> Tensor:
        """A leaf with rows `rows` (int64 [t], distinct) of the table as they are now: [t, d]."""
        self.rows = rows.to(self.table.device)
        self.values = self._of(self.table.detach()).requires_grad_()
        return self.values

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows taken by their gradient."""
        g = self.values.grad
        if g is None:
            return
        slots = self.state[self.table]
        steps = self._of(slots["steps"]).add_(1)
        mean = self._of(slots["exp_avg"]).lerp_(g, 1 - B1)
        square = self._of(slots["exp_avg_sq"]).mul_(B2).addcmul_(g, g, value=1 - B2)
        for name, value in (("steps", steps), ("exp_avg", mean), ("exp_avg_sq", square)):
            self._store(slots[name], value)
        count = steps.to(g.dtype)
        root = square.div_(1 - B2**count).sqrt_().add_(EPS)
        change = mean.div_(1 - B1**count).div_(root)
        self._store(self.table, self.values.detach().add(change, alpha=-self.param_groups[0]["lr"]))

    def _of(self, matrix: Tensor) -> Tensor:
        """The rows taken of a matrix, as new memory on the device."""
        return matrix.index_select(0, self.rows).to(self.tables.device)

    def _store(self, matrix: Tensor, values: Tensor) -> None:
        matrix.index_copy_(0, self.rows, values.to(matrix.device))
