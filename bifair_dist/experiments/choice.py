"""Which of a method's points goes on to all seeds: decided on validation, by the first seed.

A method on the plain loss is judged by recall alone. One that balances groups is judged as in a sweep
(experiments/objective.py): the least CV where recall and NDCG both keep their share of the reference's.
"""

from __future__ import annotations

from collections.abc import Sequence

from bifair_dist.experiments.cell import Cell, Figures
from bifair_dist.experiments.objective import Baseline, objective


def judged(found: Figures, reference: Figures, keep: float) -> float:
    """J, the less the better: infinite where a figure is not finite."""
    share = min(found.recall / reference.recall, found.ndcg / reference.ndcg)
    return objective(share, found.cv, Baseline(1.0, reference.cv, reference.minimum), keep)


def choose(cells: Sequence[Cell], group: str, reference: Figures | None, keep: float) -> Cell | None:
    """The best of the cells that are finished (the first of equals); None without one.

    `reference`: validation figures of the reference; None for methods on the plain loss.
    """
    done = [cell for cell in cells if cell.finished]
    if not done:
        return None
    if reference is None:
        return max(done, key=lambda cell: cell.run.metrics.valid.recall)
    return min(done, key=lambda cell: judged(cell.figures("valid", group), reference, keep))
