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

B1, B2, EPS = 0.9, 0.999, 1e-8
"""torch's own for Adam."""


class LazyAdam(torch.optim.Optimizer):
    """On `table` [m, d]; `state[table]` holds `exp_avg`, `exp_avg_sq` [m, d] and `steps` float32 [m, 1].

    Before each step `take` names the rows; it returns them as a leaf, whose gradient `step` uses.
    """

    def __init__(self, table: Tensor, lr: float) -> None:
        super().__init__([table], {"lr": lr})
        self.table = table
        self.rows = torch.empty(0, dtype=torch.int64)
        self.values = table.detach()[:0]
        slots = self.state[table]
        slots["exp_avg"], slots["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        slots["steps"] = torch.zeros(table.shape[0], 1, dtype=torch.float32, device=table.device)

    def take(self, rows: Tensor) -> Tensor:
        """A leaf with rows `rows` (int64 [t], distinct) of the table as they are now: [t, d]."""
        self.rows, self.values = rows, self.table.detach().index_select(0, rows).requires_grad_()
        return self.values

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows taken by their gradient."""
        g = self.values.grad
        if g is None:
            return
        slots, rows = self.state[self.table], self.rows
        steps = slots["steps"].index_select(0, rows).add_(1)
        mean = slots["exp_avg"].index_select(0, rows).lerp_(g, 1 - B1)
        square = slots["exp_avg_sq"].index_select(0, rows).mul_(B2).addcmul_(g, g, value=1 - B2)
        for name, value in (("steps", steps), ("exp_avg", mean), ("exp_avg_sq", square)):
            slots[name].index_copy_(0, rows, value)
        count = steps.to(g.dtype)
        root = square.div_(1 - B2**count).sqrt_().add_(EPS)
        change = mean.div_(1 - B1**count).div_(root)
        self.table.index_copy_(0, rows, self.values.detach().add(change, alpha=-self.param_groups[0]["lr"]))
