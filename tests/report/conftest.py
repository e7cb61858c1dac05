from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))  # small_runs

from small_runs import Small, run
from strange_texts import NAME, make_strange


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_strange(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def runs(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def done(small: Small, runs: Path) -> Path:
    """A finished run of both phases, with the report that it wrote itself."""
    changes = {"training.run_name": NAME, "training.report": True, "training.bilevel_epochs": 2, "bilevel.eta": 0.05}
    return run(small, runs, changes)


@pytest.fixture(scope="session")
def plain(small: Small, runs: Path) -> Path:
    """A finished AlphaRec run without a report."""
    return run(small, runs, {"training.run_name": "plain", "training.method": "alpharec"})
