"""Ctrl-C and `kill`: exit code 130, one line that says how to go on, no stack, and MLflow's run KILLED."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import Small, command_line, quick

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = {
    "training.max_epochs": 5000,
    "training.patience": 5000,
    "training.run_name": "mine",
    "tracking.enabled": True,
}
CASES = [("inline", signal.SIGINT), ("ray", signal.SIGINT), ("ray", signal.SIGTERM)]


@pytest.mark.parametrize(("launcher", "number"), CASES, ids=[f"{name}-{n.name}" for name, n in CASES])
def test_a_stopped_training_says_how_to_go_on(launcher: str, number: int, small: Small, tmp_path: Path) -> None:
    settings = command_line(quick(small, tmp_path / "runs", {**ENDLESS, "cluster.launcher": launcher}))
    running = subprocess.Popen(
        [sys.executable, "jobs/train.py", *settings],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches every process of the terminal's group
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "epoch " in line and "loss" in line:
            break
    os.killpg(running.pid, number) if number == signal.SIGINT else running.send_signal(number)
    _, err = running.communicate(timeout=90)
    assert running.returncode == 130, err
    line = "interrupted; the same command with --training.run_name mine goes on from the last checkpoint"
    assert [text for text in err.splitlines() if "Warning" not in text and not text.startswith("  ")] == [line], err
    assert (tmp_path / "runs" / "mine" / "train.log").read_text().splitlines()[-1] == "interrupted"
    assert status(tmp_path / "runs") == "KILLED"


def status(runs: Path) -> str:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    return str(client.get_run((runs / "mine" / "mlflow_run_id").read_text().strip()).info.status)
