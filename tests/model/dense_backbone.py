"""The backbone's formulas with dense matrices and explicit sums; shares no code with the library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Problem:
    """Edges of a random bipartite graph with isolated nodes at the end, and item representations (float64)."""

    user: Tensor
    item: Tensor
    n_users: int
    n_items: int
    z: Tensor

    @property
    def adjacency(self) -> Tensor:
        r = torch.zeros(self.n_users, self.n_items, dtype=torch.float64)
        r[self.user, self.item] = 1.0
        return r


def problem(seed: int = 0, n_users: int = 9, n_items: int = 11, edges: int = 40, d: int = 6) -> Problem:
    """The last user and the last two items have no edge."""
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.randperm((n_users - 1) * (n_items - 2), generator=rng)[:edges]
    z = torch.randn(n_items, d, generator=rng, dtype=torch.float64)
    return Problem(chosen // (n_items - 2), chosen % (n_items - 2), n_users, n_items, z)


def project(theta: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = x @ theta["w1"].T
    if "w2" not in theta:
        return hidden
    hidden = hidden + theta["b1"]
    return torch.where(hidden > 0, hidden, 0.01 * hidden) @ theta["w2"].T + theta["b2"]


def user_means(r: Tensor, z: Tensor) -> Tensor:
    rows = []
    for u in range(r.shape[0]):
        liked = z[r[u] > 0]
        rows.append(liked.mean(0) if len(liked) else torch.zeros(z.shape[1], dtype=z.dtype))
    return torch.stack(rows)


def propagate(r: Tensor, x: Tensor, layers: int) -> Tensor:
    """Mean of the powers 0..L of D^-1/2 A D^-1/2 applied to x, A the full (U + N) x (U + N) adjacency."""
    n_users, n_items = r.shape
    a = torch.zeros(n_users + n_items, n_users + n_items, dtype=r.dtype)
    a[:n_users, n_users:], a[n_users:, :n_users] = r, r.T
    degree = a.sum(1)
    scale = torch.where(degree > 0, degree.clamp(min=1) ** -0.5, torch.zeros_like(degree))
    a_hat = torch.diag(scale) @ a @ torch.diag(scale)
    return sum(torch.matrix_power(a_hat, level) @ x for level in range(layers + 1)) / (layers + 1)  # type: ignore


def nodes(
    p: Problem, theta: dict[str, Tensor], z: Tensor, layers: int, user_inputs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(users, items) before normalisation."""
    r = p.adjacency
    inputs = user_means(r, z) if user_inputs is None else user_inputs
    x = propagate(r, torch.cat([project(theta, inputs), project(theta, z)]), layers)
    return x[: p.n_users], x[p.n_users :]


def losses(users: Tensor, items: Tensor, batch: Any, tau: float, known: Tensor | None) -> Tensor:
    """InfoNCE of each example of `batch`, one at a time; `known` [U, N] bool takes negatives out."""
    items = items / items.norm(dim=1, keepdim=True)
    out = []
    for b in range(len(batch.users)):
        u, plus = int(batch.users[b]), int(batch.positives[b])
        x = users[u] / users[u].norm()
        negatives = batch.negatives if batch.negatives.dim() == 1 else batch.negatives[b]
        s_plus = torch.exp(x @ items[plus] / tau)
        kept = [int(j) for j in negatives if known is None or not known[u, j]]
        s_minus = sum((torch.exp(x @ items[j] / tau) for j in kept), torch.zeros((), dtype=users.dtype))
        out.append(-torch.log(s_plus / (s_plus + s_minus)))
    return torch.stack(out)


def relative(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    a, b = a.detach(), b.detach()
    gap = float((a - b).norm())
    return 0.0 if gap == 0 else gap / max(float(b.norm()), math.ulp(0))
