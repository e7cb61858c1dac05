"""What a level minimises: (1 - s) mean of l + s sum_k c_k L_k over the groups of its batch.

    plain   s = 0                                          the mean loss, AlphaRec's
    fair    c = w                                          the rule's weights
    worst   c = softmax(L / T)                             gradient of T log sum_k exp(L_k / T), a smooth worst group
    cv      c = ((L - m) / sd - sd / m) / G                m times the gradient of sd / m, the groups' CV

L are the running averages of the groups' losses, m and sd their mean and deviation; T = sd, so that no scale has to be
chosen. `cv` gives groups that are served better than they need be a negative weight: the plain part holds them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def objective_weights(name: str, losses: Tensor, weights: Tensor) -> Tensor:
    """c [G] of the objective `name` (fair, worst or cv) from group losses [G], float64; `weights` [G] are the rule's.

    The rule's too where the losses do not differ or are not known yet (nan).
    """
    deviation, mean = losses.std(correction=0), losses.mean()
    if name == "fair" or not (deviation > 0 and torch.isfinite(deviation)):
        return weights
    if name == "worst":
        return (losses / deviation).softmax(dim=0)
    return ((losses - mean) / deviation - deviation / mean) / len(losses)
