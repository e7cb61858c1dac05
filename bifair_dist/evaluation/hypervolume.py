"""How much of the plane a set of points dominates: one number for a whole trade-off between accuracy and fairness.

With recall R and CV C of a point, R0 and C0 the reference's, and the corner (a, b), the area of

    union over points of  [a, R / R0] x [C / C0, b]

in the plane of R / R0 (more is better) and C / C0 (less is better); points beyond the corner add nothing. The corner
is a = .95 (a loss of 5 %, more than anybody allows) and b = 1 (as unfair as the reference), so that the reference alone
has 0, and .05 is an inequality of none at equal recall.

Source: Zitzler and Thiele, IEEE TEC 1999 (the measure); in two dimensions a sum of rectangles over the sorted front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CORNER = (0.95, 1.0)
Point = tuple[float, float]
"""(recall, CV)."""


def hypervolume(points: Sequence[Point], reference: Point, corner: Point = CORNER) -> float:
    """Area, as a share of reference recall times reference CV; points that are not finite count as none.

    nan where the reference's recall or CV is not positive.
    """
    if not (reference[0] > 0 and reference[1] > 0):
        return math.nan
    shares = [(recall / reference[0], cv / reference[1]) for recall, cv in points]
    inside = [(r, c) for r, c in shares if r > corner[0] and c < corner[1]]
    area, height = 0.0, corner[1]
    for recall, cv in sorted(inside, key=lambda point: (-point[0], point[1])):
        if cv < height:
            area += (recall - corner[0]) * (height - cv)
            height = cv
    return area
