"""InfoNCE over sampled negatives (van den Oord et al., arXiv 1807.03748; as AlphaRec uses it).

l_b = -log( e^(s_b+/tau) / (e^(s_b+/tau) + sum_j e^(s_bj/tau)) ),    s = cosine of the user and item outputs

With a pool shared by the batch the scores are one matrix product, and one B x K matrix is all that is kept for the
backward pass: E_bj = e^(s_bj/tau - m_b), whose two products are the gradients (m_b: the largest score of the row).

    dl_b / ds_bj = E_bj / (tau S_b),    dl_b / ds_b+ = (E_b+ / S_b - 1) / tau,    S_b = E_b+ + sum_j E_bj
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.labels import labelled


@labelled("loss")
def info_nce(users: Tensor, positives: Tensor, negatives: Tensor, masked: Tensor | None, tau: float) -> Tensor:
    """Loss of each example, [B].

    `users`, `positives` [B, k]; `negatives` [K, k], shared by the batch, or [B, K, k], one set an example. `masked`
    (bool [B, K]) takes out the negatives that the user is known to like. Rows need not be normalised.
    """
    u, p, v = (F.normalize(x, dim=-1) for x in (users, positives, negatives))
    if negatives.dim() == 2:
        loss: Tensor = PooledInfoNce.apply(u, p, v, masked, tau)
        return loss
    return plain_info_nce(u, p, v, masked, tau)


def plain_info_nce(u: Tensor, p: Tensor, v: Tensor, masked: Tensor | None, tau: float) -> Tensor:
    """`info_nce` of rows of length 1, step by step."""
    plus = (u * p).sum(-1, keepdim=True) / tau
    minus = (u @ v.T if v.dim() == 2 else torch.einsum("bk,bjk->bj", u, v)) / tau
    if masked is not None:
        minus = minus.masked_fill(masked, float("-inf"))
    return torch.logsumexp(torch.cat([plus, minus], dim=1), dim=1) - plus.squeeze(1)


class PooledInfoNce(torch.autograd.Function):
    """`plain_info_nce` with shared negatives, its gradient written out (head of this file)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, p: Tensor, v: Tensor, masked: Tensor | None, tau: float) -> Tensor:
        """Rows of length 1: u, p [B, k], v [K, k] -> [B]."""
        e = (u / tau) @ v.T
        if masked is not None:
            e.masked_fill_(masked, float("-inf"))
        plus = (u * p).sum(1).div_(tau)
        largest = torch.maximum(e.amax(1), plus)
        e_plus = (plus - largest).exp_()
        total = e.sub_(largest.unsqueeze(1)).exp_().sum(1).add_(e_plus)
        ctx.save_for_backward(u, p, v, masked, e, e_plus, total)
        ctx.tau = tau
        return total.log().add_(largest).sub_(plus)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by u, p and v; where they are to be differentiated again, those of the plain form."""
        u, p, v, masked, e, e_plus, total = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t, needed in zip((u, p, v), ctx.needs_input_grad, strict=False) if needed]
            found = iter(
                torch.autograd.grad(plain_info_nce(u, p, v, masked, ctx.tau), wanted, grads, create_graph=True)
            )
            return (*(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None)
        scale = grads[0] / ctx.tau
        each = (scale / total).unsqueeze(1)
        plus = (e_plus.unsqueeze(1) * each).sub_(scale.unsqueeze(1))
        return (e @ v).mul_(each).addcmul_(plus, p), plus * u, e.T @ (each * u), None, None
