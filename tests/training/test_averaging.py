"""The running average of parameters: known answers, and that it is what a run validates and keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_runs import Small, run

from bifair_dist.training.averaging import Average


def averaged(values: list[float], window: float) -> float:
    z, theta = torch.zeros(2, 1, dtype=torch.float64), {"w": torch.zeros(1, dtype=torch.float64)}
    average = Average(window, theta, z, train_z=True)
    for value in values:
        z.fill_(value)
        theta["w"].fill_(value)
        average.update()
    assert float(average.averaged[0]["w"]) == pytest.approx(float(average.averaged[1][0, 0]), abs=1e-12)
    return float(average.averaged[1][0, 0])


def test_a_constant_is_its_own_average_from_the_first_step() -> None:
    assert averaged([2.0], 50) == pytest.approx(0.9 * 2.0)  # a_0 = 0 keeps a tenth
    assert averaged([2.0] * 400, 50) == pytest.approx(2.0, abs=1e-6)


def test_the_average_of_a_ramp_lags_by_the_window() -> None:
    assert averaged([float(t) for t in range(1, 1001)], 20) == pytest.approx(1000 - 19, abs=1e-3)


def test_the_noise_left_is_that_of_the_window() -> None:
    """Independent unit noise averaged with share c has variance c / (2 - c)."""
    g = torch.Generator().manual_seed(0)
    ends = [averaged(torch.randn(200, generator=g).tolist(), 10) for _ in range(400)]
    assert torch.tensor(ends).var().item() == pytest.approx(0.1 / 1.9, rel=0.2)


def test_without_a_window_it_is_the_parameters_themselves() -> None:
    z, theta = torch.zeros(2, 1), {"w": torch.zeros(1)}
    average = Average(0, theta, z, train_z=True)
    average.update()
    assert average.averaged[1] is z and average.averaged[0] is theta


def test_frozen_item_vectors_are_not_copied() -> None:
    z, theta = torch.zeros(2, 1), {"w": torch.zeros(1)}
    assert Average(5, theta, z, train_z=False).averaged[1] is z


def test_a_run_validates_and_keeps_the_average(small: Small, tmp_path: Path) -> None:
    """The metrics of the best epoch come back from the restored state, and differ from those of the last step."""
    ends = {}
    for window in (0.0, 3.0):
        folder = run(small, tmp_path / str(window), {"training.average": window, "training.bilevel_epochs": 3})
        records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        best = [r for r in records if r["phase"] == "bilevel" and r["best"]][-1]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["valid"]["recall@20"] == pytest.approx(best["valid"]["recall@20"], abs=1e-12)
        ends[window] = metrics["valid"]["ndcg@20"]
    assert ends[0.0] != ends[3.0]
