"""The workers as the `Places` of the bi-level step: explicit sums by `Comm`, the projector's inner update through DDP.

DDP's hooks fire in `backward()` only, never in `torch.autograd.grad`. So the inner gradient goes through DDP, and all
other gradients (v, the Gram matrix) are summed here by hand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bifair_dist.labels import labelled
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta
from bifair_dist.parallel.comm import Comm


class InnerLoss(nn.Module):
    """theta as parameters, and this worker's part of the inner loss as `forward`, for DDP to wrap."""

    def __init__(self, theta: Theta, model: Backbone) -> None:
        super().__init__()
        self.parameters_by_name = nn.ParameterDict({name: nn.Parameter(t) for name, t in theta.items()})
        self.model = model

    @property
    def theta(self) -> Theta:
        """The parameters by name."""
        return dict(self.parameters_by_name.items())

    def forward(self, z: Tensor, batch: Batch, coefficients: Tensor) -> Tensor:
        """sum_i a_i l_i over this worker's slice."""
        return (coefficients * self.model.example_losses(self.theta, z, batch)).sum()


class Workers:
    """`Places` over the ranks of `comm`. `inner_group` is DDP's own process group.

    DDP starts its reductions while the backward pass still runs its all-to-alls; on a group of its own they cannot
    get in each other's way.
    """

    def __init__(self, comm: Comm, inner: InnerLoss, inner_group: torch.distributed.ProcessGroup | None) -> None:
        self.comm, self.inner = comm, inner
        self.module: nn.Module = inner
        if comm.size > 1 and inner.theta:
            self.module = DistributedDataParallel(inner, process_group=inner_group)

    def total(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum over the workers."""
        return self.comm.all_reduce_sum(tensor, tag)

    def use(self, model: Backbone) -> None:
        """Take the inner gradient on this model from now on."""
        self.inner.model = model

    @labelled("inner gradient")
    def inner_gradient(self, z: Tensor, batch: Batch, coefficients: Tensor) -> tuple[Theta, Tensor]:
        """Gradient of the whole inner loss with respect to theta, and this worker's part of the loss.

        DDP takes the mean over workers of gradients that have to be summed, hence the factor W.
        """
        loss: Tensor = self.module(z.detach(), batch, coefficients)
        (loss * self.comm.size).backward()
        gradient: Theta = {}
        for name, parameter in self.inner.theta.items():
            assert parameter.grad is not None
            gradient[name] = parameter.grad
            parameter.grad = None
        if self.comm.size > 1:
            self.comm.count_all_reduce("theta", sum(g.numel() * g.element_size() for g in gradient.values()))
        return gradient, loss.detach()
