"""Amazon Reviews 2014 (McAuley et al., SIGIR 2015): ``reviews_NAME[_5].json.gz`` beside ``meta_NAME.json.gz``.

The lines of the meta files are Python literals, not JSON, and an item has several category paths.
"""

from __future__ import annotations

from pathlib import Path

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes
from bifair_dist.data.sources.amazon import Release, read_amazon
from bifair_dist.data.sources.registry import source

RELEASE = Release("reviewerID", "asin", "overall", "unixReviewTime", "categories", "brand", "feature", literals=True)


@source("amazon2014", ("reviews_*.json*", "meta_*.json*"))
def read_amazon2014(path: Path, notes: Notes) -> RawData:
    """A folder of Amazon Reviews 2014; timestamps in seconds, provider column ``brand``."""
    return read_amazon(path, RELEASE, notes)
