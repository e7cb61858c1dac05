"""How popular what is shown is: average recommendation popularity (ARP).

    ARP = sum over list places of p_i / number of places,    p_i: training pairs of the item in that place

Source: Yin, Cui, Li, Yao & Chen, Challenging the Long Tail Recommendation, VLDB 2012; Abdollahpouri, Burke & Mobasher,
FLAIRS 2019, take the mean of each list first, which is the same where all lists are of one length.
"""

from __future__ import annotations

from torch import Tensor


def average_popularity(exposure: Tensor, popularity: Tensor) -> float:
    """ARP in training pairs an item, from how often each item is shown and was taken, both [N]; nan if none is shown.

    Sums of whole numbers in float64: exact, whoever counted which users.
    """
    shown, taken = exposure.double(), popularity.double()
    total = float(shown.sum())
    return float((shown * taken).sum()) / total if total else float("nan")
