"""Sources: one file each, from raw files to ``RawData``. ``SOURCES`` lists them by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bifair_dist.data.nearest import known
from bifair_dist.data.raw import RawData
from bifair_dist.data.sources.amazon2018 import read_amazon2018
from bifair_dist.data.sources.amazon2023 import read_amazon2023
from bifair_dist.data.sources.generic import read_generic
from bifair_dist.data.sources.lightgcn import read_lightgcn
from bifair_dist.data.sources.movielens import read_movielens
from bifair_dist.data.sources.recbole import read_recbole
from bifair_dist.errors import UserError

BUILT_IN = "generated"  # needs no input folder; see catalog/generated.py
SOURCES: dict[str, Callable[[Path], RawData]] = {
    "movielens": read_movielens,
    "amazon2018": read_amazon2018,
    "amazon2023": read_amazon2023,
    "lightgcn": read_lightgcn,
    "recbole": read_recbole,
    "generic": read_generic,
}


def check_source(name: str) -> None:
    """Raise ``UserError`` naming the nearest source for an unknown one."""
    names = (*SOURCES, BUILT_IN)
    if name not in names:
        raise UserError(f"--source {name}: unknown source; {known(name, names)}")


def read_source(name: str, path: Path) -> RawData:
    """Read the folder ``path`` as ``name``. Raises ``UserError`` for an unknown source or a missing folder."""
    check_source(name)
    if not path.exists():
        raise UserError(f"{path}: input not found")
    if not path.is_dir():
        raise UserError(f"{path}: is a file; --input is the folder that holds the files of the source")
    return SOURCES[name](path)
