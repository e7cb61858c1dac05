"""What a run warns of: each sign by itself, in runs that really go wrong, and not in one that goes well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from small_runs import Small, history_of, run

from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.runs import GroupFigures, Start, Summary, Validation
from bifair_dist.training.watch import Drift, Watch, signs


def record(**changes: Any) -> Validation:
    """A validation of a bi-level phase in which all is well."""
    recall, cv = changes.pop("recall", 0.5), changes.pop("cv", 0.2)
    well = Validation(
        phase="bilevel", epoch=1, step=1, loss=3.0, best=True, group="genre",
        valid=Summary({"recall@20": recall}, {"genre": GroupFigures(cv=cv)}),
        z_drift=0.1, moves_z=True, weights=[0.4, 0.3, 0.3], began_with=Start("recall@20", 0.5, 0.4, 0.1),
    )  # fmt: skip
    return replace(well, **changes)


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "climb": ({"loss": 5.0}, 3),
    "runaway": ({"z_drift": 4.0}, 1),
    "trivial": ({"weights": [0.0, 1.0, 0.0]}, 3),
    "collapse": ({"recall": 0.44}, 3),
    "still": ({"z_drift": 1e-5}, 6),
    "unfair": ({"cv": 0.399}, 6),
    "fit": ({"fit": 0.3}, 3),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_sign_shows_after_as_many_validations_as_it_takes(kind: str) -> None:
    bad, needed = CASES[kind]
    # Up to a validation short of it nothing is said. For the climb there has to be something to climb from.
    history = [record() for _ in range(1 if kind in ("climb", "runaway", "trivial", "collapse") else 0)]
    for count in range(1, needed + 1):
        history.append(record(**bad))
        assert set(signs(history)) == ({kind} if count == needed else set())
    if kind != "still":
        history.append(record())
        assert kind not in signs(history)


def test_what_comes_and_goes_is_told_once() -> None:
    low, fine = record(recall=0.4), record()
    history = [low, low, low, fine, low, low, low]
    watch = Watch()
    told = [line for entry in history for line in watch.add(entry)]
    assert [len(watch.add(replace(low, phase="fair_z"))) for _ in range(3)] == [0, 0, 1]  # the next phase, by itself
    assert len(told) == 1 and "recall@20 fell from 0.5000 to 0.4000" in told[0]


def test_nothing_is_said_while_all_is_well() -> None:
    assert signs([]) == {}
    assert signs([record()] * 20) == {}
    base = {"began_with": None, "weights": None, "moves_z": False, "z_drift": 0.0}
    assert signs([record(**base)] * 20) == {}


@dataclass(frozen=True)
class OneOf:
    """As much of a `Comm` as `Drift` asks for."""

    size: int
    rank: int


@pytest.mark.parametrize("n", [5, 1024, 3001])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_drift_is_the_distance_and_does_not_depend_on_the_workers(n: int, size: int) -> None:
    """Everything moved by a tenth of itself, and turned round: .1 and 2, over any number of workers."""
    z = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for after, expected in ((z * 1.1, 0.1), (-z, 2.0), (z, 0.0)):
        total = torch.zeros(2, dtype=torch.float64)
        for rank in range(size):
            start, stop = row_range(n, size, rank)
            padded = torch.zeros(-(-n // size), 3, dtype=torch.float64)
            padded[: stop - start] = z[start:stop]
            drift = Drift(padded, n, cast(Comm, OneOf(size, rank)))
            padded[: stop - start] = after[start:stop]
            total += drift.squares(padded)
        assert float((total[0] / total[1]).sqrt()) == pytest.approx(expected, abs=1e-12)
        sample = torch.arange(min(1024, n)) * n // min(1024, n)
        assert float(total[1]) == pytest.approx(float(z[sample].square().sum()))


REAL = {
    "runaway": ({"bilevel.eta": 1.0, "bilevel.theta_lr": 1e-9}, "times its own length away"),
    "still": ({"bilevel.eta": 1e-12}, "Z hardly moves"),
}


@pytest.mark.parametrize("kind", REAL)
def test_a_run_that_goes_wrong_says_so_once(kind: str, small: Small, tmp_path: Path) -> None:
    changes, told = REAL[kind]
    settings = {"training.bilevel_epochs": 7, "training.patience": 99, "training.eval_every": 1, **changes}
    folder = run(small, tmp_path, settings)
    lines = [line for line in (folder / "train.log").read_text().splitlines() if "warning: " in line]
    assert sum(told in line for line in lines) == 1, lines
    drifts = [r["z_drift"] for r in history_of(folder) if r["phase"] == "bilevel"]
    assert drifts == sorted(drifts)
