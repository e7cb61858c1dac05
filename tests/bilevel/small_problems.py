"""A smooth bi-level problem, a small backbone problem, and a dense bi-level step written from the equations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bifair_dist.bilevel.hypergradient import Loss
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.bilevel.weights.balance import GroupBalance
from bifair_dist.bilevel.weights.registry import make_rule
from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import Theta, init_theta
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.places import InnerLoss, Workers
from bifair_dist.parallel.sampler import BatchSampler


def itself(theta: Theta) -> Theta:
    """The `Total` of one place."""
    return theta


def norm(theta: Theta) -> float:
    return float(torch.cat([t.reshape(-1) for t in theta.values()]).norm())


def relative(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).detach().norm() / b.detach().norm())


def gradient(loss: Loss, theta: Theta, z: Tensor) -> Theta:
    """d_theta loss."""
    theta = {name: t.detach().requires_grad_() for name, t in theta.items()}
    return dict(zip(theta, torch.autograd.grad(loss(theta, z), list(theta.values())), strict=True))


def unrolled(inner: Loss, outer: Loss, theta: Theta, z: Tensor, xi: float) -> Tensor:
    """d_Z L_out(theta - xi d_theta L_in(theta, Z), Z) by autograd through the step."""
    theta = {name: t.detach().requires_grad_() for name, t in theta.items()}
    z = z.detach().requires_grad_()
    g = torch.autograd.grad(inner(theta, z), list(theta.values()), create_graph=True)
    ahead = {name: t - xi * step for (name, t), step in zip(theta.items(), g, strict=True)}
    return torch.autograd.grad(outer(ahead, z), z)[0]


def smooth_losses(seed: int) -> tuple[Loss, Loss, Theta, Tensor]:
    """(inner, outer, theta, Z): analytic functions with every mixed derivative."""
    rng = torch.Generator().manual_seed(seed)
    theta = {
        "w1": torch.randn(4, 3, generator=rng, dtype=torch.float64),
        "b1": torch.randn(4, generator=rng, dtype=torch.float64),
    }
    z = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    targets = torch.randn(2, 6, 4, generator=rng, dtype=torch.float64)

    def make(target: Tensor) -> Loss:
        def loss(theta: Theta, z: Tensor) -> Tensor:
            out = torch.tanh(z @ theta["w1"].T + theta["b1"])
            t = target.to(out.dtype)
            return ((out - t) ** 2).mean() + 0.1 * torch.sin(out * out.roll(1, 0)).sum()

        return loss

    return make(targets[0]), make(targets[1]), theta, z


def small_step(
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    optimizer: str = "sgd",
    rule: str = "uniform",
    strength: float = 0.5,
    refresh: int = 1,
    theta_lr: float = 0.3,
    eta: float = 0.7,
    train_theta: bool = True,
    train_z: bool = True,
    levels: Mapping[str, Any] | None = None,
    **settings: Any,
) -> tuple[BilevelStep, BatchSampler]:
    """A BilevelStep in one process on 12 users, 10 items, 3 groups, with groups to several or none."""
    rng = torch.Generator().manual_seed(seed)
    users, items = 12, 10
    chosen = torch.randperm(users * items, generator=rng)[:60]
    user, item = chosen // items, chosen % items
    graph = build_graph(user, item, users, items, dtype)
    model = AlphaRec(graph, Sharded(Comm()), tau=0.3)
    inner = InnerLoss(init_theta(5, 4, 3, "mlp", seed, dtype), model)
    z = torch.randn(items, 5, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()
    membership = Membership.of(
        "item", torch.tensor([0, 1, 2, 3, 3, 4, 5, 6]), torch.tensor([0, 0, 1, 0, 1, 2, 2, 1]), 10, 3
    )
    make = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    step = BilevelStep(
        model=model,
        outer_model=model,
        theta=inner.theta,
        z=z,
        places=Workers(Comm(), inner, None),
        theta_optimizer=make(inner.parameters(), theta_lr) if train_theta else None,
        z_optimizer=make([z], eta) if train_z else None,
        balance=GroupBalance(
            make_rule(rule),
            strength=strength,
            refresh_every=refresh,
            average=0.0,
            catalogue_sizes=membership.sizes,
            **(levels or {}),
        ),
        membership=membership,
        **settings,
    )
    known = Csr.of(user, item, users)
    sampler = BatchSampler(user, item, items, batch_size=25, negatives=5, shared=True, known=known, seed=seed)
    return step, sampler
