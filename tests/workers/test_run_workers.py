"""One body in every worker: alone, as processes, on Ray Train and under torchrun; results and refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from bodies import listens, refuses, sums

from bifair_dist.errors import UserError
from bifair_dist.workers.run import launcher_of, run_workers
from bifair_dist.workers.settings import ClusterSettings

ROOT = Path(__file__).resolve().parents[2]
INLINE, RAY = ClusterSettings(launcher="inline"), ClusterSettings(launcher="ray", workers=2, timeout=60)


@pytest.fixture(scope="module", autouse=True)
def importable() -> None:
    """New processes find `bodies` and what it uses."""
    there = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT), there])


def test_one_worker_alone_runs_in_this_process_unless_asked_otherwise() -> None:
    assert run_workers(lambda worker: os.getpid(), INLINE) == os.getpid()
    assert run_workers(partial(sums, 3), INLINE, own_process=True) == (1, 3, True)


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_work_together_and_the_first_ones_result_comes_back(workers: int) -> None:
    expected = (workers, 10 * workers + sum(range(workers)), True)
    assert run_workers(partial(sums, 10), INLINE, workers=workers) == expected


def test_ray_does_the_same() -> None:
    assert run_workers(partial(sums, 10), RAY) == (2, 21, True)


def test_a_local_ray_and_its_workers_listen_on_loopback_only_and_want_a_token() -> None:
    assert run_workers(partial(listens, os.getpid()), RAY) == {"127.0.0.1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("cluster", [INLINE, RAY], ids=["processes", "ray"])
def test_a_refusal_of_one_worker_is_the_error_of_all(cluster: ClusterSettings) -> None:
    with pytest.raises(UserError, match=r"^cannot work on this$"):
        run_workers(refuses, cluster, workers=2)


def test_torchrun_prepares_once_and_every_process_works(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        str(Path(__file__).parent / "bodies.py"),
    ]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["(2, 21, True)", "(2, 21, False)"]
    assert [(tmp_path / f"refused-{rank}").read_text() for rank in range(2)] == ["cannot work on this"] * 2
    assert (tmp_path / "made").read_text() == "once "
    # Freed while Python was still running; else a finished run can abort at its end.
    assert [(tmp_path / f"gone-{rank}").read_text() for rank in range(2)] == ["alive"] * 2


def test_what_starts_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launcher_of(ClusterSettings()) == "ray"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert launcher_of(ClusterSettings()) == "torchrun"
    assert launcher_of(INLINE) == "inline"
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(UserError, match="torchrun did not start this process"):
        launcher_of(ClusterSettings(launcher="torchrun"))
