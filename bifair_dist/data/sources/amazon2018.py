"""Amazon Reviews 2018 (Ni, Li, McAuley, EMNLP 2019): ``NAME[_5].json.gz`` beside ``meta_NAME.json.gz``."""

from __future__ import annotations

from pathlib import Path

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes
from bifair_dist.data.sources.amazon import Release, read_amazon
from bifair_dist.data.sources.registry import source

RELEASE = Release("reviewerID", "asin", "overall", "unixReviewTime", "category", "brand", "feature")


@source("amazon2018", ("meta_*.json*",))
def read_amazon2018(path: Path, notes: Notes) -> RawData:
    """A folder of Amazon Reviews 2018; timestamps in seconds, provider column ``brand``."""
    return read_amazon(path, RELEASE, notes)
