"""Sources: one file each, from raw files to ``RawData``. ``SOURCES`` lists them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bifair_dist.catalog.nearest import known
from bifair_dist.catalog.raw import RawData
from bifair_dist.catalog.sources.generic import read_generic
from bifair_dist.catalog.sources.movielens import read_movielens
from bifair_dist.errors import UserError

SOURCES: dict[str, Callable[[Path], RawData]] = {
    "movielens": read_movielens,
    "generic": read_generic,
}


def read_source(name: str, path: Path) -> RawData:
    """Read the folder ``path`` as ``name``. Raises ``UserError`` for an unknown source or a missing folder."""
    if name not in SOURCES:
        raise UserError(f"--source {name}: unknown source; {known(name, SOURCES)}")
    if not path.exists():
        raise UserError(f"{path}: input not found")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; --input is the folder that holds the files of the source")
    return SOURCES[name](path)
