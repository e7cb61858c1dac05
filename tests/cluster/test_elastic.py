"""A machine of the cluster is lost in the middle of a training: it goes on with the workers that are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cuts import assert_same, end_of
from local_ray import LocalRay, descendants, two_nodes
from small_runs import Small, command_line, make_small, quick, run

pytestmark = pytest.mark.slow
RUN = {
    "training.run_name": "elastic", "training.max_epochs": 12, "training.patience": 100, "model.dtype": "float64",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("elastic"))


def test_two_workers_become_one_and_the_numbers_stay(small: Small, tmp_path: Path) -> None:
    """min 1, max 2 workers on two nodes; the second node is killed after the third validation."""
    workers = {"cluster.launcher": "auto", "cluster.workers": 2, "cluster.min_workers": 1, "cluster.cpus_per_worker": 3}
    folder = tmp_path / "runs" / "elastic"
    settings = command_line(quick(small, tmp_path / "runs", {**RUN, **workers}))
    with two_nodes() as ray:
        done = follow(ray, folder, settings)
    assert "100 rows on each of 2 workers" in done
    assert "going on from checkpoint" in done
    assert "199 rows on each of 1 worker" in done
    assert_same(end_of(folder), end_of(run(small, tmp_path / "whole", RUN)), 1e-10)


def follow(ray: LocalRay, folder: Path, settings: list[str]) -> str:
    """Submit, kill the second node after three validations, wait for the end; the run's log."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "job"]
    command += ray.submit("elastic", "python", "jobs/train.py", *settings)
    with subprocess.Popen(command, env=dict(ray.environment), cwd=ray.root, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        out, killed = "", False
        for line in job.stdout:
            out += line
            if not killed and out.count("  epoch ") >= 3:
                killed = True
                for pid in {ray.heads[1].pid, *descendants(ray.heads[1].pid)}:
                    os.kill(pid, signal.SIGKILL)
    assert job.returncode == 0, out
    return (folder / "train.log").read_text()
