"""What a sweep minimises, from validation figures alone.

    J = CV                                             where Recall >= share * R0
    J = max(CV, CV0) + (share * R0 - Recall) / R0      elsewhere

R0 and CV0 are the AlphaRec baseline's. The baseline itself is feasible with J = CV0, so that whatever loses too much
accuracy is worse than the baseline, and the more so the more it loses: a searcher is led back instead of meeting a wall
of equal values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Baseline:
    """Validation figures of the AlphaRec baseline: recall@K and the group table's CV and MIN; `folder`: its run."""

    recall: float
    cv: float
    minimum: float
    folder: str = ""


def objective(recall: float, cv: float, baseline: Baseline, share: float) -> float:
    """J. Infinite where a figure is missing or not finite."""
    if not (math.isfinite(recall) and math.isfinite(cv)):
        return math.inf
    short = share - recall / baseline.recall
    return cv if short <= 0 else max(cv, baseline.cv) + short
