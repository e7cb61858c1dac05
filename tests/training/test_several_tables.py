"""Several group tables balanced at once, from the command line's text to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import Small, history_of, run

from bifair_dist.data.balanced import balanced_tables, group_labels
from bifair_dist.data.dataset import read_dataset
from bifair_dist.errors import UserError
from bifair_dist.runs import Summary
from bifair_dist.training.front import Point


@pytest.mark.parametrize("group", ["genre,popularity", "genre*popularity", "genre,user_activity"])
def test_a_run_balances_them_and_its_files_name_them(small: Small, tmp_path: Path, group: str) -> None:
    """Weights over all groups of all tables; the choice, the lines and the report look at each table."""
    folder = run(small, tmp_path, {"balance.group": group, "balance.interpolation": "none", "training.report": True})
    names = group.replace("*", ",").split(",")
    labels = group_labels(balanced_tables(group, read_dataset(small.dataset).groups))
    last = history_of(folder)[-1]
    assert last["group"] == group and len(last["weights"]) == len(labels) == len(last["group_losses"])
    front = json.loads((folder / "front.json").read_text())
    found = [Point.of_record(line, front["tables"]) for line in front["points"]]
    assert front["tables"] == names and all(len(p.measured.cvs) == 2 for p in found)
    base = Summary.from_json(front["points"][0]["valid"])
    assert found[0].measured.cvs == tuple(base.groups[name].cv for name in names)
    log, page = (folder / "train.log").read_text(), (folder / "report.html").read_text()
    line = next(line for line in log.splitlines() if line.startswith("  epoch"))
    assert f"over {group} " in log and all(f"{name} CV" in line for name in names)
    assert all(f"By {name} (balanced in training)" in page for name in names)
    content = json.loads((folder / "report.json").read_text())["runs"][0]
    assert content["front"]["kept"] == front["kept"] and len(content["front"]["points"]) == len(front["points"])
    drawn = [f"states by {name}" for name in names]
    assert "Other trade-offs of this run" in page and all(title in page for title in drawn)
    assert content["tables"] == names and content["balanced_groups"] == list(labels)


def test_what_does_not_fit_is_one_line(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no group table 'colour'"):
        run(small, tmp_path, {"balance.group": "genre,colour"})
    with pytest.raises(UserError, match="genre is of items and user_activity of users"):
        run(small, tmp_path, {"balance.group": "genre*user_activity"})
