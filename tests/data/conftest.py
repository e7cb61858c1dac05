"""Fixtures of the catalogue tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from raw_layouts import generic_csv


@pytest.fixture()
def generic(tmp_path: Path) -> Path:
    """A folder in the generic csv layout."""
    generic_csv(tmp_path / "in")
    return tmp_path / "in"
