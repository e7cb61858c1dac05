"""How seconds grow with a size: the exponent p of the least squares line of log(seconds) over log(size)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """p of seconds ~ size^p; None where there are not two sizes."""
    x, y = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    if len(set(x)) < 2:
        return None
    middle, high = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - middle) ** 2 for a in x)
    return sum((a - middle) * (b - high) for a, b in zip(x, y, strict=True)) / spread
