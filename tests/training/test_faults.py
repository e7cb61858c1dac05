"""Workers that raise, workers and a driver that are killed with SIGKILL, a second driver: on a real Ray, one run.

The run ends with the numbers of one that nothing happened to, and with one MLflow run that has each point once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cuts import assert_same, end_of
from small_runs import Small, command_line, history_of, quick, run

from bifair_dist.training.lease import read_owner

ROOT = Path(__file__).resolve().parents[2]
DRIVER = Path(__file__).with_name("faulty_driver.py")
RUN = {
    "training.max_epochs": 2, "training.bilevel_epochs": 2, "training.run_name": "run", "checkpoint.every": 3,
    "model.dtype": "float64", "training.average": 0.5,
}  # fmt: skip
# 8 steps an epoch. Counted within a try: the first dies in epoch 1 after its checkpoint at step 3.
PLAN = [["raise", 1, 6], ["kill", 0, 15], ["driver", 0, 4]]


@dataclass(frozen=True, slots=True)
class Story:
    """What happened: the killed driver's output, the second driver's end, the last driver's output, the run folder."""

    first: subprocess.CompletedProcess[str]
    second: subprocess.CompletedProcess[str]
    last: subprocess.CompletedProcess[str]
    folder: Path


@pytest.fixture(scope="module")
def story(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = tmp_path_factory.mktemp("faults")
    plan = place / "plan.json"
    plan.write_text(json.dumps(PLAN))
    changes = {**RUN, "cluster.launcher": "ray", "cluster.workers": 2, "tracking.enabled": True}
    settings = command_line(quick(small, place, changes))

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, *command, *settings]
        return subprocess.run(line, capture_output=True, text=True, timeout=240, cwd=ROOT)

    running = subprocess.Popen(
        [sys.executable, str(DRIVER), str(plan), *settings],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip
    assert running.stdout is not None
    out = ""
    for line in running.stdout:
        out += line
        if "starting 2 Ray Train workers" in line:
            second = call("jobs/train.py")
    first = subprocess.CompletedProcess([], running.wait(), out)
    yield Story(first, second, call("jobs/train.py"), place / "run")


def test_the_driver_died_and_the_workers_had_been_started_again(story: Story) -> None:
    assert story.first.returncode == -9, story.first.stdout
    assert story.first.stdout.count("going on from checkpoint") == len(PLAN) - 1, story.first.stdout


def test_the_same_command_goes_on(story: Story) -> None:
    assert story.last.returncode == 0, story.last.stdout + story.last.stderr
    assert "going on from checkpoint" in story.last.stdout
    assert story.last.stdout.count("phase base") == 0  # that was over


def test_the_second_driver_was_refused_in_one_line(story: Story) -> None:
    assert story.second.returncode == 2
    (line,) = story.second.stderr.splitlines()
    assert "trains this run at the moment" in line
    owner = read_owner(story.folder)
    assert owner is not None and owner.attempt == 2  # the refused one took no turn


def test_nothing_of_it_shows_in_the_numbers(story: Story, small: Small, tmp_path: Path) -> None:
    assert_same(end_of(story.folder), end_of(run(small, tmp_path, RUN)), 1e-10)


def test_mlflow_has_one_finished_run_with_each_point_once(story: Story) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{story.folder.parent / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "bifair"]
    (entry,) = client.search_runs([experiment.experiment_id])
    assert entry.info.run_id == (story.folder / "mlflow_run_id").read_text().strip()
    assert entry.info.status == "FINISHED"
    losses: list[Any] = client.get_metric_history(entry.info.run_id, "training/loss")
    steps = [v["step"] for v in history_of(story.folder)]
    assert Counter(m.step for m in losses) == dict.fromkeys(steps, 1) and len(steps) == 4
