"""A sweep through `ray job submit` to a real Ray of two nodes: stopped on the way, and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from local_ray import LocalRay, two_nodes
from small_runs import command_line, make_small, quick
from test_submit import submitted, wait

pytestmark = pytest.mark.slow
SPACE = """
from bifair_dist.experiments.space import Choice, Space

SPACE = Space(name="two", about="two", domains={"bilevel.eta": Choice((1e-3, 1e-4))}, search="grid")
"""


@pytest.fixture(scope="module")
def ray() -> Iterator[LocalRay]:
    with two_nodes() as started:
        yield started


def test_a_submitted_sweep_that_is_stopped_goes_on_with_the_same_command(ray: LocalRay, tmp_path: Path) -> None:
    small = make_small(tmp_path)
    (tmp_path / "two.py").write_text(SPACE)
    changes = {
        "cluster.launcher": "auto", "cluster.workers": 1, "training.max_epochs": 2, "training.bilevel_epochs": 40,
        "training.patience": 99,
    }  # fmt: skip
    settings = quick(small, tmp_path / "runs", changes)
    del settings["training.output"], settings["bilevel.eta"]  # where it goes, and what is searched
    sweep = {"tune.space": tmp_path / "two.py", "tune.output": tmp_path / "sweeps", "tune.concurrent": 1,
             "tune.scheduler": "none"}  # fmt: skip
    command = ["python", "jobs/tune.py", *command_line({**settings, **sweep})]
    trials = tmp_path / "sweeps" / "two-dataset" / "trials"
    assert ray.client("submit", "--no-wait", *ray.submit("sweep", *command)[1:]) == 0
    wait(lambda: any(trials.glob("*/history.jsonl")), "the first trial's first validation", 180)
    (first,) = trials.iterdir()
    assert ray.client("stop", "--address", ray.address, "sweep") == 0
    done = submitted(ray, "again", *command)
    assert done.returncode == 0, done.stdout
    assert "going on with the sweep that is there" in done.stdout
    assert "2 of 2 trials" in done.stdout and "2 finished, 0 stopped, 0 failed" in done.stdout
    assert "going on from checkpoint" in (first / "train.log").read_text()
    table = pd.read_parquet(trials.parent / "trials.parquet")
    assert list(table["status"]) == ["finished"] * 2 and first.name in set(table["trial"])


def test_a_bad_space_ends_with_an_error_code_and_one_line(ray: LocalRay, tmp_path: Path) -> None:
    done = submitted(ray, "bad", "python", "jobs/tune.py", "--tune.space", "bifair_cor")
    assert done.returncode == 1
    assert "exit code 2" in done.stdout and "bifair_core" in done.stdout
    assert "Traceback" not in done.stdout
