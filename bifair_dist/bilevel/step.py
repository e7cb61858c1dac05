"""One step of BiFair (arXiv 2507.04294, Algorithm 1), written as if all data were in one place.

    w       <- rule(L_k, K)                     every `refresh` steps (Algorithm 2)
    g_theta  = d_theta L_fair(theta, Z)
    g_Z      = hypergradient at (theta, Z)      every `inner_steps` steps (eq. 7)
    Z       <- Adam(eta, g_Z),   theta <- Adam(theta_lr, g_theta)

Both updates use gradients at the same (theta, Z): the gradient inside the unroll *is* the inner update's gradient,
which saves one pass in five over updating Z first and recomputing it (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bifair_dist.bilevel.adam_unroll import adam_step
from bifair_dist.bilevel.exact import exact
from bifair_dist.bilevel.finite_difference import finite_difference
from bifair_dist.bilevel.gram import group_gram
from bifair_dist.bilevel.hypergradient import Hypergradient, Loss, norm
from bifair_dist.bilevel.membership import Membership
from bifair_dist.bilevel.penalty import Penalty
from bifair_dist.bilevel.weights.balance import GroupBalance, example_coefficients, group_losses
from bifair_dist.bilevel.weights.items import ItemBalance
from bifair_dist.labels import labelled
from bifair_dist.model.backbone import Backbone
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import Theta


class Places(Protocol):
    """Where the data lie: how partial results become totals. One place: everything is the identity."""

    def total(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum of a tensor over the places."""
        ...

    def inner_gradient(self, z: Tensor, batch: Batch, coefficients: Tensor) -> tuple[Theta, Tensor]:
        """(summed d_theta sum_i a_i l_i(theta, Z), this place's part of the loss)."""
        ...

    def use(self, model: Backbone) -> None:
        """Take the inner gradient on this model from now on."""
        ...


@dataclass(slots=True)
class StepRecord:
    """What a step did, for logs and tests; `loss` and `outer_loss` are this place's parts."""

    loss: Tensor
    outer_loss: Tensor | None = None
    v_norm: float = 0.0
    e: float = 0.0
    group_losses: Tensor | None = None
    gram: Tensor | None = None
    weights: Tensor | None = None
    g_theta: Theta = field(default_factory=dict)
    g_z: Tensor | None = None


@dataclass(slots=True)
class BilevelStep:
    """The step as a function of a batch; state is in theta, `z`, the optimisers and the balance.

    theta: parameters by name (leaves). z: item rows held here [m, d], a leaf. `theta_optimizer` or `z_optimizer` None:
    that level stands still. `outer_model` is the backbone of the outer loss, by default the inner one. `items` weights
    positives by item where there is no balance between groups. `weighs_outer`: the weights follow the group losses of
    the outer level's batch, not of the inner one's. `penalty`: its form of the hypergradient, where both levels move.
    """

    model: Backbone
    outer_model: Backbone
    theta: Theta
    z: Tensor
    places: Places
    theta_optimizer: torch.optim.Optimizer | None
    z_optimizer: torch.optim.Optimizer | None
    balance: GroupBalance | None = None
    membership: Membership | None = None
    items: ItemBalance | None = None
    method: str = "finite_difference"
    unroll: str = "sgd"
    xi: float = 0.01
    eps: float = 0.01
    inner_steps: int = 1
    weighs_outer: bool = False
    penalty: Penalty | None = None

    def __call__(self, count: int, batch: Batch, outer_batch: Callable[[], Batch]) -> StepRecord:
        """Step number `count` of the phase; `outer_batch` is called only where `needs_outer`."""
        record = StepRecord(torch.zeros(()))
        outer = outer_batch() if self.needs_outer(count) else batch
        if self.balance is not None and self.balance.due(count):
            self.refresh_weights(outer if self.weighs_outer else batch, record, batch)
        coefficients = self.coefficients(batch, record)
        if self.penalty is not None:
            self._penalised(batch, coefficients, outer, record)
        elif self.theta_optimizer is not None:
            record.g_theta, record.loss = self.places.inner_gradient(self.z, batch, coefficients)
        if self._moves_z(count):
            assert self.z_optimizer is not None
            if self.penalty is None:
                hyper = self._hypergradient(batch, coefficients, outer, record)
                record.outer_loss, record.g_z = hyper.outer_loss, hyper.g_z
                record.v_norm, record.e = hyper.v_norm, hyper.e
            self.z.grad = record.g_z
            self.z_optimizer.step()
            self.z.grad = None
        if self.theta_optimizer is not None:
            for name, parameter in self.theta.items():
                parameter.grad = record.g_theta[name]
            self.theta_optimizer.step()
            self.theta_optimizer.zero_grad()
        return record

    def needs_outer(self, count: int) -> bool:
        """Whether step `count` looks at the outer level's batch: it moves Z, or recomputes weights on that batch."""
        weighs = self.weighs_outer and self.balance is not None and self.balance.due(count)
        return weighs or self._moves_z(count)

    def _moves_z(self, count: int) -> bool:
        return self.z_optimizer is not None and (count + 1) % self.inner_steps == 0

    def loss(self, model: Backbone, batch: Batch, coefficients: Tensor) -> Loss:
        """(theta, Z) -> this place's part of L_fair on the batch."""
        return lambda theta, z: (coefficients * model.example_losses(theta, z, batch)).sum()

    def coefficients(self, batch: Batch, record: StepRecord | None = None, *, outer: bool = False) -> Tensor:
        """a_i of this place's slice, [b], with which the inner or `outer` level's loss is sum_i a_i l_i over places."""
        b, like = batch.stop - batch.start, self.z
        if self.items is not None:
            return self.items.coefficients(batch).to(like)
        if self.balance is None or self.membership is None or self.balance.strength == 0:
            return like.new_full((b,), 1.0 / batch.size)
        counts = self._counts(batch)
        weights, strength = self.balance.objective(counts > 0, outer)
        if not bool((counts > 0).any()):
            strength = 0.0
        if record is not None:
            record.weights = weights
        pairs = self.membership.pairs(batch, batch.start, batch.stop)
        return example_coefficients(weights, pairs, counts, batch.size, strength, b).to(like)

    def _outer_coefficients(self, batch: Batch, a: Tensor, outer_batch: Batch) -> Tensor:
        """The outer level's coefficients; `a`, the inner one's, where batch and objective are the same."""
        if outer_batch is batch and (self.balance is None or not self.balance.levels_differ):
            return a
        return self.coefficients(outer_batch, outer=True)

    def _penalised(self, batch: Batch, a: Tensor, outer_batch: Batch, record: StepRecord) -> None:
        assert self.penalty is not None
        inner = self.loss(self.model, batch, a)
        outer = self.loss(self.outer_model, outer_batch, self._outer_coefficients(batch, a, outer_batch))
        found = self.penalty(inner, outer, self.theta, self.z, self._total)
        record.g_z, record.g_theta, record.v_norm = found.g_z, found.g_theta, norm(found.v)
        record.loss, record.outer_loss = found.inner_loss, found.outer_loss

    def _hypergradient(self, batch: Batch, a: Tensor, outer_batch: Batch, record: StepRecord) -> Hypergradient:
        outer = self.loss(self.outer_model, outer_batch, self._outer_coefficients(batch, a, outer_batch))
        inner = self.loss(self.model, batch, a)
        if self.theta_optimizer is None:
            # theta stands still, so there is no inner level to look through: the plain gradient of the outer loss.
            still = {name: torch.zeros_like(t) for name, t in self.theta.items()}
            return finite_difference(inner, outer, self.theta, still, self.z, xi=0.0, eps=self.eps, total=self._total)
        adam = adam_step(self.theta_optimizer, self.theta, record.g_theta) if self.unroll == "adam" else None
        if self.method == "exact":
            return exact(inner, outer, self.theta, record.g_theta, self.z, xi=self.xi, total=self._total, adam=adam)
        return finite_difference(
            inner, outer, self.theta, record.g_theta, self.z, xi=self.xi, eps=self.eps, total=self._total, adam=adam
        )

    def _total(self, theta: Theta) -> Theta:
        """Sum over places in one message."""
        if not theta:
            return theta
        flat = self.places.total(torch.cat([t.reshape(-1) for t in theta.values()]), "v")
        parts = flat.split([t.numel() for t in theta.values()])
        return {name: p.view(t.shape) for p, (name, t) in zip(parts, theta.items(), strict=True)}

    def _counts(self, batch: Batch) -> Tensor:
        assert self.membership is not None
        return torch.bincount(self.membership.pairs(batch, 0, batch.size)[1], minlength=self.membership.sizes.numel())

    @labelled("new weights")
    def refresh_weights(self, batch: Batch, record: StepRecord, inner: Batch | None = None) -> None:
        """Recompute the groups' weights on this batch at the present (theta, Z).

        `inner`: the inner level's batch, for a rule that compares gradients on both; the same one if left out.
        """
        assert self.balance is not None
        across = self.balance.across and inner is not None and inner is not batch
        record.group_losses, record.gram = group_gram(
            self._group_losses(batch),
            self.theta,
            lambda t: self.places.total(t, "gram"),
            with_gram=self.balance.needs_gram,
            across=self._group_losses(inner) if across and inner is not None else None,
        )
        self.balance.update(record.group_losses, record.gram, self._counts(batch))

    def _group_losses(self, batch: Batch) -> Callable[[Theta], Tensor]:
        """theta -> this place's part of every group's mean loss on the batch, [G]."""
        assert self.membership is not None
        counts = self._counts(batch)
        example, group = self.membership.pairs(batch, batch.start, batch.stop)
        here = (example.to(self.z.device), group.to(self.z.device))
        return lambda theta: group_losses(self.model.example_losses(theta, self.z.detach(), batch), here, counts)
