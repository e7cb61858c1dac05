"""Which points no other point beats in everything."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """For each point (all coordinates: the less the better) whether it is on the front.

    A point is off it where another is nowhere worse and somewhere better. Equal points share their fate.
    """

    def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    return [not any(beats(other, point) for other in points) for point in points]
