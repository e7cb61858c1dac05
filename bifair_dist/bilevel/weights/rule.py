"""The interface of the weighting rules: group losses and the Gram matrix of their gradients in, simplex weights out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from bifair_dist.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What some rules know beside losses and gradients. All tensors have one entry per group, [G].

    `counts`: positives of each group in the global batch. `catalogue_sizes`: items (or users) of each group in the
    whole data set, N_k. `previous`: what this rule returned last time, on the simplex; uniform at first. `streamed`:
    the losses averaged over the recomputations so far, these included (`GroupBalance`).
    """

    counts: Tensor
    catalogue_sizes: Tensor
    previous: Tensor
    streamed: Tensor


class WeightRule(Settings):
    """Weights of the groups' losses in L_fair = sum_k w_k L_k: a component that owns its settings.

    A rule keeps no state over steps and knows nothing of absent groups. `source` names the paper. A rule that weighs
    items instead of groups (`weighs_items`) is asked by `item_weights` and not called. `across`: its Gram matrix is of
    the gradients on the inner level's batch with those on the batch that the losses are of.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    needs_gram: ClassVar[bool] = False
    across: ClassVar[bool] = False
    weighs_items: ClassVar[bool] = False

    def __call__(self, losses: Tensor, gram: Tensor | None, context: RuleContext) -> Tensor:
        """Weights [G] on the simplex, in the dtype and on the device of `losses` [G] (each >= 0).

        `gram` [G, G] has K_ij = g_i . g_j of the summed gradients, with `across` g_i of the inner level's batch and
        g_j of the one of the losses; None unless `needs_gram`.
        """
        raise NotImplementedError

    def item_weights(self, counts: Tensor) -> Tensor:
        """Weight of each item's positives, float64 [N] > 0, from the training positives of each item, int [N]."""
        raise NotImplementedError


def to_float64(what: str, tensor: Tensor | None) -> NDArray[np.float64]:
    """`tensor` as numpy float64; ValueError if it is missing or holds nan or infinity (training has diverged)."""
    if tensor is None:
        raise ValueError(f"this weighting rule needs the {what}")
    array = tensor.detach().double().cpu().numpy()
    if not np.isfinite(array).all():
        raise ValueError(f"the {what} hold nan or infinity: training has diverged, lower the learning rates")
    return array


def to_weights(weights: NDArray[np.float64], like: Tensor) -> Tensor:
    """Numpy weights as a tensor with the dtype and device of `like`."""
    return like.new_tensor(weights)


def normalised(weights: Tensor) -> Tensor:
    """`weights` [G] >= 0 scaled to sum 1; uniform where they are all zero."""
    total = weights.sum()
    if total <= 0:
        return weights.new_full(weights.shape, 1.0 / len(weights))
    return weights / total
