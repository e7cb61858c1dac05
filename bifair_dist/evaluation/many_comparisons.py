"""Which of many comparisons still differ when there are many: the procedure of Benjamini and Hochberg.

    p_(1) <= ... <= p_(m)                     m comparisons, sorted
    remains    all i <= max {i : p_(i) <= i q / m}

Of the differences that remain, at most a share q is expected to be none in truth (false discovery rate), where the
comparisons are independent or positively dependent, as those against one reference on the same users mostly are.
Source: Benjamini & Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995); Benjamini & Yekutieli,
Ann. Statist. 29 (2001), for dependence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

RATE = 0.05
"""q."""


def benjamini_hochberg(p: Sequence[float], rate: float = RATE) -> list[bool]:
    """For each of the p-values whether its difference remains; nan stands for no comparison, is not one of m."""
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    m = len(order)
    last = max((place for place, i in enumerate(order, 1) if p[i] <= place * rate / m), default=0)
    remaining = set(order[:last])
    return [i in remaining for i in range(len(p))]


def p_value(replicates: Tensor) -> float:
    """Two-sided p of "the difference is 0", from its bootstrap replicates [R]: normal, with their mean and deviation.

    Counting replicates beyond 0 could not tell p below 1/R, which many comparisons ask for. Replicates that are not
    finite are left out; nan where fewer than two are left.
    """
    values = replicates[replicates.isfinite()]
    if len(values) < 2:
        return math.nan
    mean, deviation = float(values.mean()), float(values.std())
    if deviation == 0:
        return 1.0 if mean == 0 else 0.0
    return math.erfc(abs(mean) / deviation / math.sqrt(2))
