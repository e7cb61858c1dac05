"""Amazon Reviews 2023 (Hou et al., arXiv 2403.03952): ``NAME.jsonl.gz`` beside ``meta_NAME.jsonl.gz``."""

from __future__ import annotations

from pathlib import Path

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes
from bifair_dist.data.sources.amazon import Release, read_amazon
from bifair_dist.data.sources.registry import source

RELEASE = Release("user_id", "parent_asin", "rating", "timestamp", "categories", "store", "features")


@source("amazon2023", ("meta_*.jsonl*",))
def read_amazon2023(path: Path, notes: Notes) -> RawData:
    """A folder of Amazon Reviews 2023; timestamps in milliseconds, provider column ``store``."""
    return read_amazon(path, RELEASE, notes)
