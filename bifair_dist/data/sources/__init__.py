"""Sources: one file each, from raw files to ``RawData``; how to add one: docs/add-a-source.md."""

from bifair_dist.data.sources.registry import BUILT_IN, Source, check_source, read_source, source, sources

__all__ = ["BUILT_IN", "Source", "check_source", "read_source", "source", "sources"]
