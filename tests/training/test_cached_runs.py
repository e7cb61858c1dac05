"""Whole trainings on cached propagation: every method, resume inside an interval, close to the full step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cuts import Cut, assert_same, cut_after, end_of, on_workers
from small_runs import Small, history_of, metrics_of, quick, run, vectors_of

from bifair_dist.errors import UserError
from bifair_dist.parallel.lazy_adam import LazyAdam
from bifair_dist.settings import override
from bifair_dist.training.averaging import Average
from bifair_dist.training.launch import with_data
from bifair_dist.training.lazy_averaging import LazyAverage
from bifair_dist.training.run_folder import open_run_folder
from bifair_dist.training.settings import TrainSettings

CACHED = {"model.propagation": "cached", "cached.interval": 4, "cached.finish_interval": 2, "cached.finish_epochs": 1}
LONG = CACHED | {
    "training.max_epochs": 2, "training.bilevel_epochs": 2, "training.average": 0.5, "training.run_name": "run",
    "balance.average": 0.3, "checkpoint.every": 3, "model.dtype": "float64",
}  # fmt: skip


@pytest.mark.parametrize("method", ["alpharec", "theta_only", "bifair", "separate"])
def test_every_method_runs_and_its_phases_are_there(method: str, small: Small, tmp_path: Path) -> None:
    folder = run(small, tmp_path, CACHED | {"training.method": method})
    history = history_of(folder)
    later = {"theta_only": ["fair_theta"], "bifair": ["bilevel"], "separate": ["fair_theta", "fair_z"]}
    assert [r["phase"] for r in history] == ["base", "finish", *later.get(method, [])]
    assert all(np.isfinite(r["loss"]) and r["fit"] <= 1 for r in history)
    assert 0 < metrics_of(folder)["test"]["recall@20"] < 1
    moved = not np.array_equal(vectors_of(folder / "item_representations"), vectors_of(small.representations))
    assert moved == (method in ("bifair", "separate"))


def test_a_refresh_before_every_step_is_full_propagation_where_only_theta_moves(small: Small, tmp_path: Path) -> None:
    """Nothing has drifted, so the losses are the full ones; the gradient is not, it is the fitted map's."""
    settings = {"training.method": "alpharec", "training.max_epochs": 3, "model.dtype": "float64"}
    fresh = CACHED | {"cached.interval": 1, "cached.finish_epochs": 0}
    full, cached = (history_of(run(small, tmp_path / n, settings | s)) for n, s in (("a", {}), ("b", fresh)))
    assert cached[0]["loss"] == pytest.approx(full[0]["loss"], rel=1e-2)
    assert cached[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=1e-2)


CASES: dict[str, dict[str, Any]] = {
    "bifair": {},
    "float32, no average": {"model.dtype": "float32", "training.average": 0.0},
    "separate": {"training.method": "separate", "training.bilevel_epochs": 1},
    "two inner steps, the same batch": {"bilevel.inner_steps": 2, "bilevel.outer_data": "same"},
    "frozen users": {"model.users": "frozen", "bilevel.outer_data": "next", "training.max_epochs": 1},
    "exact": {"bilevel.hypergradient": "exact", "training.max_epochs": 1},
    "a fold for the outer level": {"bilevel.outer_data": "fold", "training.max_epochs": 1},
    "a fold, frozen users": {"bilevel.outer_data": "fold", "model.users": "frozen", "training.max_epochs": 1},
}


@pytest.mark.parametrize("case", CASES)
def test_cut_inside_an_interval_gives_the_same_bits(case: str, small: Small, tmp_path: Path) -> None:
    settings = LONG | CASES[case]
    whole = end_of(run(small, tmp_path / "whole", settings))
    for steps in (4, 7, 1, 5, 9):
        with pytest.raises(Cut), cut_after(steps):
            run(small, tmp_path / "cut", settings)
    assert_same(end_of(run(small, tmp_path / "cut", settings)), whole, 0.0)


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_z_elsewhere_gives_the_same_bits(place: str, small: Small, tmp_path: Path) -> None:
    """A whole run with its checkpoints, cut off once, and the points between its two ends."""
    settings = LONG | {"model.dtype": "float32", "balance.interpolation": 0.5}
    whole = end_of(run(small, tmp_path / "device", settings))
    elsewhere = settings | {"model.z_device": place} | ({"model.z_folder": str(tmp_path)} if place == "disk" else {})
    with pytest.raises(Cut), cut_after(7):
        run(small, tmp_path / "there", elsewhere)
    assert_same(end_of(run(small, tmp_path / "there", elsewhere)), whole, 0.0)


def test_another_number_of_workers(small: Small, tmp_path: Path) -> None:
    """One run on 3, 2, 1 and 4 workers in turn, cut off inside an interval each time, against one on 1 worker."""
    whole = end_of(run(small, tmp_path / "whole", LONG))
    settings = with_data(override(TrainSettings(), quick(small, tmp_path / "cut", LONG)))
    folder, _ = open_run_folder(settings)
    for attempt, (size, steps) in enumerate(((3, 5), (2, 9), (1, 4), (4, None)), start=1):
        on_workers(size, folder, attempt, steps, tmp_path)
    assert_same(end_of(folder), whole, 1e-10)


@pytest.mark.parametrize("window", [3.0, 40.0])
def test_the_lazy_average_is_the_average(window: float) -> None:
    rng = torch.Generator().manual_seed(2)
    z = torch.randn(9, 3, generator=rng, dtype=torch.float64)
    theta = {"w": torch.zeros(2, dtype=torch.float64)}
    adam = LazyAdam(z, 0.1)
    lazy, dense = LazyAverage(window, theta, z, adam), Average(window, theta, z, train_z=True)
    for step in range(150):
        rows = torch.randperm(9, generator=rng)[: 1 + step % 3]
        adam.take(rows).grad = torch.randn(len(rows), 3, generator=rng, dtype=torch.float64)
        adam.step()
        theta["w"] += 1
        lazy.update()
        dense.update()
        if step % 40 == 7:  # asked for in between, as a validation does
            assert float((lazy.averaged[1] - dense.averaged[1]).abs().max()) < 1e-12
    assert float((lazy.averaged[1] - dense.averaged[1]).abs().max()) < 1e-12
    assert torch.equal(lazy.averaged[0]["w"], dense.averaged[0]["w"])


def test_auto_is_decided_before_config_is_written_and_said(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(small, tmp_path, {"model.propagation": "auto", "training.method": "alpharec"})
    assert re.search(r"propagation: .?full", (folder / "config.yaml").read_text())
    assert re.search(
        r"model\.propagation auto: full \(on .* a step is estimated at .* full and", capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training.method": "lightgcn"}, "--training.method lightgcn"),
        ({"training.strategy": "deepspeed"}, "--training.strategy deepspeed"),
        ({"training.precision": "bf16"}, "--training.precision bf16"),
        ({"cached.interval": 0}, "cached.interval"),
        ({"cached.ridge": -1.0}, "cached.ridge"),
        ({"cached.ridge": 0.0}, "cached.ridge"),
        ({"cached.finish_interval": 0}, "cached.finish_interval"),
        ({"cached.finish_rate": 0.0}, "cached.finish_rate"),
        ({"cached.history": 0}, "cached.history"),
        ({"model.propagation": "full", "model.z_device": "disk"}, "model.z_device: disk needs"),
        ({"model.z_folder": "somewhere"}, "model.z_folder: is for"),
    ],
)
def test_what_it_cannot_do_is_said(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named) as refused:
        override(TrainSettings(), {"model.propagation": "cached"} | changes)
    assert "\n" not in str(refused.value)


def test_a_rate_that_ends_in_no_numbers_is_one_line(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError) as ended:
        run(small, tmp_path, CACHED | {"training.method": "alpharec", "training.theta_lr": 1e38})
    assert "\n" not in str(ended.value) and "theta_lr" in str(ended.value)
