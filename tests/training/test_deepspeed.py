"""DeepSpeed as the strategy: the numbers of DDP, and checkpoints that every strategy goes on from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from cuts import assert_same, end_of, on_workers
from small_runs import Small, quick, run

from bifair_dist.errors import UserError
from bifair_dist.parallel import deepspeed_setup
from bifair_dist.settings import override
from bifair_dist.training.inputs import with_data
from bifair_dist.training.run_folder import open_run_folder
from bifair_dist.training.settings import TrainSettings

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed (make test installs it)"
)
RUN = {
    "training.max_epochs": 2, "training.bilevel_epochs": 3, "training.average": 0.5, "training.run_name": "run",
    "checkpoint.every": 3,
}  # fmt: skip
DEEPSPEED = {"training.strategy": "deepspeed"}
# 8 steps an epoch. (workers, steps until all die, settings): base phase, then the bi-level one from step 17 on.
CHAIN: list[tuple[int, int | None, dict[str, Any]]] = [
    (2, 7, {}),
    (2, 12, {**DEEPSPEED, "deepspeed.zero_stage": 1}),
    (2, 8, {**DEEPSPEED, "deepspeed.zero_stage": 2, "deepspeed.offload_z_adam": True}),
    (2, 8, {**DEEPSPEED, "deepspeed.zero_stage": 3}),
    (1, None, {}),
]


@needs_deepspeed
def test_one_run_under_every_strategy_in_turn(small: Small, tmp_path: Path) -> None:
    """DDP, ZeRO 1, ZeRO 2 with Z's moments on the host, ZeRO 3, one worker alone: float32 rounding and nothing more."""
    whole = end_of(run(small, tmp_path / "whole", RUN))
    folder, _ = open_run_folder(with_data(override(TrainSettings(), quick(small, tmp_path / "cut", RUN))))
    for attempt, (size, steps, changes) in enumerate(CHAIN, start=1):
        on_workers(size, folder, attempt, steps, tmp_path, changes)
        log = (folder / "train.log").read_text()
        assert log.count("going on from checkpoint") == attempt - 1, log
    for stage in (1, 2, 3):
        assert f"the projector under ZeRO {stage}" in log
    assert "Z's Adam moments are in host memory, torch's Adam updates it there" in log  # nothing was compiled
    one, other = end_of(folder), whole
    for name in ("Z", "theta"):
        assert_same(one[name], other[name], 2e-5)
    assert_same(one["metrics"]["test"]["recall@20"], other["metrics"]["test"]["recall@20"], 0.02)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"deepspeed.offload_z_adam": True}, "needs --training.strategy deepspeed"),
        ({**DEEPSPEED, "model.dtype": "float64"}, "DeepSpeed trains in float32"),
        ({**DEEPSPEED, "training.method": "alpharec", "deepspeed.offload_z_adam": True}, "trains no Z"),
        ({**DEEPSPEED, "deepspeed.host_adam": "torch"}, "add --deepspeed.offload_z_adam"),
    ],
)
def test_what_makes_no_sense_is_one_line(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        override(TrainSettings(), changes)


def test_without_deepspeed_the_extra_is_named(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed_setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install \"bifair-dist\[deepspeed\]\""):
        run(small, tmp_path, {**RUN, **DEEPSPEED})
    assert not any(tmp_path.iterdir())
