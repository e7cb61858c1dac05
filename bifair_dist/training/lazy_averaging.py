"""The running average of averaging.py for a Z of which a step moves few rows: the others' averages are made up later.

    a_t = (1 - c_t) a_(t-1) + c_t x_t;      while x stands still at steps s+1..t:  a_t = x + (a_s - x) R_t / R_s
    R_t = product of (1 - c_j), j = 1..t;   c_j = max(1 / window, 9 / (j + 9)):    R_t / R_s in closed form

A row is brought up to date when it moves, and all of them where the average is asked for (validation, checkpoints).
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.parallel.tables import BLOCK
from bifair_dist.training.averaging import Average, share
from bifair_dist.training.steps import State


class LazyAverage:
    """`Average` of theta and of the rows of Z [m, d] that `adam` moves; `window` in steps, 0: none kept."""

    def __init__(self, window: float, theta: Theta, z: Tensor, adam: LazyAdam) -> None:
        self._theta, self._adam, self._now = Average(window, theta, z, train_z=False), adam, z
        self._z = adam.tables.copy(z) if self.kept else z
        self._until = torch.zeros(z.shape[0], 1, dtype=torch.int64, device=z.device)  # the step a row's average is at

    @property
    def kept(self) -> bool:
        """As in `Average`."""
        return self._theta.kept

    @property
    def steps(self) -> int:
        """Steps taken in."""
        return self._theta.steps

    def go_on_from(self, steps: int) -> None:
        """The averages were loaded as they were after that many steps."""
        self._theta.go_on_from(steps)
        self._until.fill_(steps)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after a step; the optimiser knows the rows that it moved and what they were before."""
        self._theta.update()
        if not self.kept:
            return
        rows, before = self._adam.rows, self._adam.values.detach().to(self._z.device)
        late = self._late(self._until.index_select(0, rows), self.steps - 1).to(before)
        averages = self._z.index_select(0, rows).sub_(before).mul_(late).add_(before)
        averages.lerp_(self._now.detach().index_select(0, rows), share(self.steps, self._theta.window))
        self._z.index_copy_(0, rows, averages)
        self._until.index_fill_(0, rows, self.steps)

    @property
    def averaged(self) -> tuple[Theta, Tensor]:
        """The averages, all of them brought up to date."""
        if self.kept:
            with torch.no_grad():
                tables = (self._z, self._now.detach(), self._late(self._until, self.steps).to(self._z))
                for average, now, late in zip(*(t.split(BLOCK) for t in tables), strict=True):
                    average.sub_(now).mul_(late).add_(now)
                self._until.fill_(self.steps)
        return self._theta.averaged[0], self._z

    def _late(self, since: Tensor, now: int) -> Tensor:
        """R_now / R_since, float64; 1 - 9 / (j + 9) = j / (j + 9), whose products are those of nine fractions."""
        window = self._theta.window
        turn = max(0, int(9 * window - 9))  # the last step whose share is 9 / (j + 9)
        a, b = since.clamp(max=turn).double(), float(min(now, turn))
        ramp = torch.ones_like(a)
        for j in range(1, 10):
            ramp *= (a + j) / (b + j)
        after = (max(now, turn) - since.clamp(min=turn)).double()
        return ramp * (1 - 1 / window) ** after


def average_of(step: BilevelStep, window: float, state: State, train_z: bool) -> Average | LazyAverage:
    """The average that goes with a step's optimiser of Z."""
    if isinstance(step.z_optimizer, LazyAdam):
        return LazyAverage(window, state.theta, state.z, step.z_optimizer)
    return Average(window, state.theta, state.z, train_z)
