"""Max-min fair exposure of item groups, by its dual: the objective of P-MMF, all users at once.

Lists x (K items for each of U users) maximise, with the scores s of the candidates and the exposure e_g of group g,

    1/(U K) sum_{u, i} s_ui x_ui  +  strength * min_g e_g / gamma_g,      e_g = 1/(U K) sum_{u, i} A_ig x_ui

where A_ig is item i's share in group g and gamma_g the share of all exposure that group g is to have. Its Lagrangian
dual is a minimum over m in the simplex (m >= 0, sum_g m_g = 1) of the convex

    D(m) = 1/(U K) sum_u top-K sum over i of  s_ui + strength * sum_g A_ig m_g / gamma_g

whose subgradient is strength * e_g / gamma_g of the lists that are best at m: groups with less than their share get a
higher m. Mirror descent on the simplex (exponentiated gradient) with steps .97^t, the subgradient divided by its
largest entry: nearer to the linear programme's optimum than 1 / t and 1 / sqrt(t) on random problems. Kept are those
of the largest primal objective among the visited m and the model's own.

Source: Xu et al., P-MMF, WWW 2023, arXiv 2303.06660, which meets users one after the other and moves m after each; here
all are there, as in any batch of lists. Their constraint e <= gamma is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bifair_dist.rerank.candidates import Candidates

STEPS = 300
"""Steps of mirror descent; each is a top-K of the candidates. The last one moves m by a part in 10,000."""
DECAY = 0.97


def max_min(found: Candidates, k: int, strength: float, gamma: Tensor, steps: int = STEPS) -> Tensor:
    """Lists int64 [U, k], best first by the adjusted score, -1 where a user has fewer candidates.

    `gamma` float64 [G], positive, sum 1. `strength` 0 gives the model's lists. Raises `ValueError` for a gamma that is
    not positive.
    """
    if not bool((gamma > 0).all()):
        raise ValueError("gamma: each group's share must be positive")
    members = found.membership / gamma
    m = torch.full_like(gamma, 1.0 / len(gamma))
    chosen, scores = _top(found, torch.zeros(len(found.membership), dtype=gamma.dtype), k)
    best = _objective(found, chosen, scores, strength, gamma)[0]
    for step in range(1, steps + 1):
        bonus = strength * (members @ m)
        lists, scores = _top(found, bonus, k)
        value, exposure = _objective(found, lists, scores, strength, gamma)
        if value > best:
            best, chosen = value, lists
        slope = exposure / gamma
        slope = slope - slope.mean()
        m = torch.softmax(m.log() - slope / slope.abs().max().clamp_min(1e-12) * DECAY**step, 0).clamp_min(1e-12)
    return chosen


def _objective(
    found: Candidates, lists: Tensor, scores: Tensor, strength: float, gamma: Tensor
) -> tuple[float, Tensor]:
    """The primal objective of lists, and e [G]."""
    places = (lists >= 0).sum()
    exposure = found.membership[lists[lists >= 0]].sum(0) / places
    return float(scores / places + strength * (exposure / gamma).min()), exposure


def _top(found: Candidates, bonus: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Lists int64 [U, k] by score + bonus, and the sum of their scores."""
    adjusted = found.scores + bonus[found.items.clamp_min(0)]
    order = adjusted.argsort(dim=1, descending=True, stable=True)[:, :k]
    scores = found.scores.gather(1, order)
    return found.items.gather(1, order), scores.masked_fill(scores.isinf(), 0.0).sum()
