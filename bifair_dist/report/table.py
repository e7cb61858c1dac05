"""Moved to `runs/text.py`."""

from bifair_dist.runs.text import change, number

__all__ = ["change", "number"]
