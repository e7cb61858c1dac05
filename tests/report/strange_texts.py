"""A small catalogue whose texts are HTML: what a report shows is data of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from small_runs import Small, make_small

from bifair_dist.files import sha256

EVIL = "<script>alert(1)</script>"
LABEL = "Poetry <b>$x^2$</b>"
NAME = "<i>first & only"


def make_strange(folder: Path) -> Small:
    """Every title has EVIL before it, the genre Poetry is called LABEL."""
    made = make_small(folder)
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
