"""Running average of the parameters over the steps of a phase (Polyak & Juditsky, 1992; as in EMA training).

    a_t = (1 - c_t) a_(t-1) + c_t x_t,    c_t = max(1 / window, 9 / (t + 9)),    a_0 = x_0

Adam with a constant rate keeps moving around a solution; the average does not, so that validation picks a state and
not a lucky step. The large c_t at the start lets the average follow before the window is full. Elementwise, so a
worker averages its own rows of Z and nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bifair_dist.model.projector import Theta


@dataclass(slots=True)
class Average:
    """Average of theta, and of this worker's rows of Z [m, d] where Z is trained; `window` in steps, 0: none kept."""

    window: float
    theta: Theta
    z: Tensor
    train_z: bool
    steps: int = 0
    averaged: tuple[Theta, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        if not self.kept:
            self.averaged = (self.theta, self.z)
        else:
            z = self.z.detach().clone() if self.train_z else self.z
            self.averaged = ({name: p.detach().clone() for name, p in self.theta.items()}, z)

    @property
    def kept(self) -> bool:
        """Whether there is an average; otherwise `averaged` is the parameters themselves."""
        return self.window > 1

    def go_on_from(self, steps: int) -> None:
        """The averages were loaded as they were after that many steps."""
        self.steps = steps

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are after a step."""
        if not self.kept:
            return
        self.steps += 1
        c = share(self.steps, self.window)
        theta, z = self.averaged
        for name, parameter in self.theta.items():
            theta[name].lerp_(parameter, c)
        if self.train_z:
            z.lerp_(self.z, c)


def share(step: int, window: float) -> float:
    """c_t of step t, from 1."""
    return max(1.0 / window, 9.0 / (step + 9.0))
