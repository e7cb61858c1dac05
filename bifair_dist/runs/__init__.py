"""Runs as they lie on disk: typed records, and the one reader and writer of a run folder."""

from bifair_dist.runs.provenance import Provenance
from bifair_dist.runs.run import Run, point_folder
from bifair_dist.runs.summary import Figure, GroupFigures, Metrics, Summary, spread
from bifair_dist.runs.validation import Start, Validation, best_so_far, flat_numbers

__all__ = [
    "Figure",
    "GroupFigures",
    "Metrics",
    "Provenance",
    "Run",
    "Start",
    "Summary",
    "Validation",
    "best_so_far",
    "flat_numbers",
    "point_folder",
    "spread",
]
