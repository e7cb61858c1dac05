"""Hypervolume: known answers, and what it must not depend on."""

from __future__ import annotations

import math
import random

import pytest

from bifair_dist.evaluation.hypervolume import hypervolume

REFERENCE = (0.5, 0.4)


def test_known_answers() -> None:
    assert hypervolume([REFERENCE], REFERENCE) == 0
    assert hypervolume([(0.5, 0.0)], REFERENCE) == pytest.approx(0.05)
    assert hypervolume([(0.5, 0.2)], REFERENCE) == pytest.approx(0.05 * 0.5)
    # 1.05 at .75 and 1.0 at .5: .1 x .25 + .05 x .25
    assert hypervolume([(0.5, 0.2), (0.525, 0.3)], REFERENCE) == pytest.approx(0.0375)
    assert hypervolume([(0.4, 0.1), (0.6, 0.5), (math.nan, 0.1), (0.5, math.nan)], REFERENCE) == 0
    assert math.isnan(hypervolume([(0.5, 0.2)], (0.0, 0.4)))


@pytest.mark.parametrize("seed", range(5))
def test_against_counting_points_of_a_grid(seed: int) -> None:
    draw = random.Random(seed)
    points = [(draw.uniform(0.45, 0.55), draw.uniform(0.1, 0.5)) for _ in range(8)]
    n, inside = 400, 0
    for i in range(n):
        for j in range(n):
            recall, cv = (0.95 + 0.15 * (i + 0.5) / n) * 0.5, (j + 0.5) / n * 0.4
            inside += any(r >= recall and c <= cv for r, c in points)
    assert hypervolume(points, REFERENCE) == pytest.approx(0.15 * inside / n**2, abs=1e-3)
    shuffled = draw.sample(points, len(points))
    assert hypervolume(shuffled, REFERENCE) == pytest.approx(hypervolume(points, REFERENCE), abs=1e-15)
    assert hypervolume([*points, (0.46, 0.45)], REFERENCE) == pytest.approx(hypervolume(points, REFERENCE), abs=1e-15)
