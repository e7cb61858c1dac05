"""A run that is cut off and gone on with reaches the numbers of one that was not, on whatever number of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cuts import Cut, assert_same, cut_after, end_of, on_workers
from small_runs import Small, quick, run

from bifair_dist.command_line import parse
from bifair_dist.errors import UserError
from bifair_dist.settings import override
from bifair_dist.training.inputs import with_data
from bifair_dist.training.run_folder import open_run_folder
from bifair_dist.training.settings import TrainSettings

LONG = {
    "training.max_epochs": 2, "training.bilevel_epochs": 2, "training.average": 0.5, "training.run_name": "run",
    "balance.average": 0.3, "checkpoint.every": 3, "model.dtype": "float64",
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "bifair": {},
    "float32, no average": {"model.dtype": "float32", "training.average": 0.0},
    "separate": {"training.method": "separate", "training.bilevel_epochs": 1},
    "two inner steps, two folds": {"bilevel.inner_steps": 2, "bilevel.folds": 2},
    "group_dro, frozen users": {"balance.rule": "group_dro", "model.users": "frozen", "training.max_epochs": 1},
    "validation every second epoch": {"training.eval_every": 2, "bilevel.outer_data": "next"},
    "penalty": {"bilevel.hypergradient": "penalty"},
    "impatient": {"training.patience": 1, "training.max_epochs": 4},
}


@pytest.mark.parametrize("case", CASES)
def test_cut_anywhere_gives_the_same_bits(case: str, small: Small, tmp_path: Path) -> None:
    """Cut in the middle of an epoch, then again and again, on one worker: nothing is different, not even rounding."""
    settings = LONG | CASES[case]
    whole = end_of(run(small, tmp_path / "whole", settings))
    for steps in (4, 7, 1, 5, 9):
        with pytest.raises(Cut), cut_after(steps):
            run(small, tmp_path / "cut", settings)
    assert_same(end_of(run(small, tmp_path / "cut", settings)), whole, 0.0)
    best = [r for r in whole["history"] if r["phase"] == whole["history"][-1]["phase"] and r["best"]][-1]
    assert whole["metrics"]["valid"] == best["valid"]  # the state kept is the best one, wherever the run stopped


def test_another_number_of_workers(small: Small, tmp_path: Path) -> None:
    """One run on 4, 2, 3, 1 and 4 workers in turn, each cut off, against one on 1 worker: 1e-10 in float64."""
    whole = end_of(run(small, tmp_path / "whole", LONG))
    settings = with_data(override(TrainSettings(), quick(small, tmp_path / "cut", LONG)))
    folder, _ = open_run_folder(settings)
    for attempt, (size, steps) in enumerate(((4, 5), (2, 9), (3, 7), (1, 4), (4, None)), start=1):
        on_workers(size, folder, attempt, steps, tmp_path)
        log = (folder / "train.log").read_text()
        assert log.count("going on from checkpoint") == attempt - 1
    assert_same(end_of(folder), whole, 1e-10)


def test_finished_runs_are_left_alone(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(small, tmp_path, LONG)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    capsys.readouterr()
    assert run(small, tmp_path, LONG) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "finished already" in capsys.readouterr().out


def test_resume_never_refuses(small: Small, tmp_path: Path) -> None:
    with pytest.raises(Cut), cut_after(4):
        run(small, tmp_path, LONG)
    with pytest.raises(UserError, match="this run exists"):
        run(small, tmp_path, LONG | {"checkpoint.resume": "never"})
    assert parse(TrainSettings(), ["--resume", "never"]).checkpoint.resume == "never"


@pytest.mark.parametrize(("changes", "named"), [({"bilevel.eta": 0.5}, "bilevel.eta = 0.001, not 0.5"),
                                                ({"training.seed": 9}, "training.seed = 0, not 9")])  # fmt: skip
def test_other_settings_are_refused(changes: dict[str, Any], named: str, small: Small, tmp_path: Path) -> None:
    with pytest.raises(Cut), cut_after(4):
        run(small, tmp_path, LONG)
    with pytest.raises(UserError, match=named):
        run(small, tmp_path, LONG | changes)
