"""One worker in this process and two under torchrun: the same run, number for number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_runs import Small, command_line, history_of, metrics_of, quick, run, theta_of, vectors_of

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {"model.dtype": "float64", "training.max_epochs": 2, "training.bilevel_epochs": 2, "training.patience": 9,
           "balance.interpolation": 0.65}  # fmt: skip


@pytest.fixture(scope="module")
def runs(small: Small, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    output = tmp_path_factory.mktemp("workers")
    two = quick(small, output, CHANGES | {"cluster.launcher": "auto", "training.run_name": "two"})
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "jobs/train.py", *command_line(two)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "on each of 2 workers" in done.stdout and done.stdout.count("finished in") == 1
    return run(small, output, CHANGES | {"training.run_name": "one"}), output / "two"


def test_metrics_agree(runs: tuple[Path, Path]) -> None:
    one, two = (flat(metrics_of(folder)) for folder in runs)
    assert one.keys() == two.keys() and len(one) > 100
    assert all(two[key] == pytest.approx(value, rel=1e-9) for key, value in one.items())


def test_history_agrees(runs: tuple[Path, Path]) -> None:
    one, two = (history_of(folder) for folder in runs)
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "v_norm", "perturbation", "weights"):
            assert b[key] == (None if a[key] is None else pytest.approx(a[key], rel=1e-9)), key


def test_representations_and_projector_agree(runs: tuple[Path, Path], small: Small) -> None:
    one, two = (vectors_of(folder / "item_representations") for folder in runs)
    assert len(list((runs[1] / "item_representations").glob("*.parquet"))) == 2
    assert one.dtype == np.float64
    assert np.abs(one - vectors_of(small.representations)).max() > 1e-3
    assert np.abs(one - two).max() <= 1e-9 * np.abs(one).max()
    for name, t in theta_of(runs[0]).items():
        assert np.abs(t - theta_of(runs[1])[name]).max() <= 1e-9 * np.abs(t).max(), name


def test_the_points_between_the_ends_agree(runs: tuple[Path, Path]) -> None:
    one, two = (json.loads((folder / "front.json").read_text()) for folder in runs)
    assert [p["interpolation"] for p in one["points"]] == sorted([i / 10 for i in range(11)] + [0.65])
    assert one["kept"] == two["kept"] == 0.65
    for a, b in zip(one["points"], two["points"], strict=True):
        for key, value in flat(a["valid"]).items():
            assert flat(b["valid"])[key] == (value if isinstance(value, list) else pytest.approx(value, rel=1e-9)), key
        assert (b["unfairness"], b["within_budget"]) == (pytest.approx(a["unfairness"], rel=1e-9), a["within_budget"])
    (kept,) = (p["valid"] for p in one["points"] if p["interpolation"] == 0.65)
    assert kept == metrics_of(runs[0])["valid"]


def test_recommendations_agree(runs: tuple[Path, Path]) -> None:
    one, two = (pd.read_parquet(folder / "recommendations.parquet") for folder in runs)
    columns = ["user_id", "rank", "item_id"]
    pd.testing.assert_frame_equal(one[columns], two[columns])
    assert np.abs(one["score"] - two["score"]).max() < 1e-9


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested dictionaries."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for name, part in value.items() for k, v in flat(part, f"{prefix}/{name}").items()}
