"""Iterative k-core of the user-item graph (Seidman 1983): the largest part in which everyone has at least k pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bifair_dist.data.raw import Codes


def k_core(user: Codes, item: Codes, k: int) -> npt.NDArray[np.bool_]:
    """Mask [E] of the pairs that remain when users and items with fewer than ``k`` pairs are removed again and again.

    Each round is two counts over the remaining pairs, so rounds get cheaper as pairs go.
    """
    alive = np.arange(len(user))
    while len(alive):
        u, i = user[alive], item[alive]
        keep = (np.bincount(u) >= k)[u] & (np.bincount(i) >= k)[i]
        if keep.all():
            break
        alive = alive[keep]
    mask = np.zeros(len(user), bool)
    mask[alive] = True
    return mask
