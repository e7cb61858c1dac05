from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "training"))  # small_runs

from small_runs import Small, make_small, run  # noqa: E402

from bifair_dist.catalog.dataset import sha256  # noqa: E402

EVIL = "<script>alert(1)</script>"
LABEL = "Poetry <b>$x^2$</b>"
NAME = "<i>first & only"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The small catalogue, with titles and a genre that are HTML: what a report shows is data of others."""
    made = make_small(tmp_path_factory.mktemp("small"))
    change_table(made.dataset, "items.parquet", lambda t: t.assign(title=EVIL + " " + t["title"]))
    change_table(made.dataset, "groups/genre.parquet", lambda t: t.assign(group=t["group"].replace("Poetry", LABEL)))
    path = made.dataset / "manifest.json"
    manifest = json.loads(path.read_text())
    labels = manifest["groups"]["genre"]["labels"]
    manifest["groups"]["genre"]["labels"] = [LABEL if label == "Poetry" else label for label in labels]
    path.write_text(json.dumps(manifest))
    return made


def change_table(dataset: Path, name: str, change: Any) -> None:
    """Write a file of a dataset folder anew, with its checksum."""
    change(pd.read_parquet(dataset / name)).to_parquet(dataset / name, index=False)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["checksums"][name] = sha256(dataset / name)
    (dataset / "manifest.json").write_text(json.dumps(manifest))


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
