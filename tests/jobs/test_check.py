"""jobs/check.py: the accuracy of the finite difference, as a person asks for it and as the library measures it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Small, command_line, quick, run
from torch import Tensor

from bifair_dist.bilevel.accuracy import Point, accuracy, closeness, reference
from bifair_dist.model.projector import Theta
from bifair_dist.settings import override
from bifair_dist.training.hypergradient_check import HypergradientCheck, check_hypergradient, kink_note
from bifair_dist.training.settings import TrainSettings

Job = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("arguments", [(), ("hypergradients",), ("--training.seed", "1")])
def test_an_unknown_check_is_one_line(job: Job, arguments: tuple[str, ...]) -> None:
    code, out, err = job("check", *arguments)
    assert code == 2 and not out
    assert re.fullmatch(r"error: (no check named|unknown check '.*'); there is: hypergradient \(.*\)\n", err)


@pytest.mark.parametrize("arguments", [("--help",), ("hypergradient", "--help")])
def test_help(job: Job, arguments: tuple[str, ...]) -> None:
    code, out, err = job("check", *arguments)
    assert code == 0 and "jobs/check.py hypergradient" in out and not err
    assert ("--bilevel.xi float" in out) == (len(arguments) == 2)


def test_a_method_without_a_second_order_term(job: Job, small: Small, tmp_path: Path) -> None:
    settings = quick(small, tmp_path, {"training.method": "separate"})
    code, _, err = job("check", "hypergradient", *command_line(settings))
    assert code == 2 and err.splitlines()[-1] == "error: training.method separate has no bi-level phase; check bifair"


def test_the_table(job: Job, small: Small, tmp_path: Path) -> None:
    """Twelve columns a row, a best eps that is the smallest error of its column, and the kinks explained."""
    code, out, _ = job("check", "hypergradient", *command_line(quick(small, tmp_path, {"bilevel.xi": 0.1})))
    assert code == 0
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| 1e")]
    assert [row[0] for row in rows] == [f"1e{exponent:+03d}" for exponent in range(0, -8, -1)]
    assert {len(row) for row in rows} == {11}
    single, double = ([float(row[column]) for row in rows] for column in (3, 5))
    best = rows[min(range(8), key=single.__getitem__)][0]
    assert f"best eps in fp32: {best} " in out
    assert min(double) < 1e-6 < min(single)
    assert "measured at the initial projector" in out and "||v|| = " in out
    share = re.search(r"with bilevel.xi = 0.1 the second-order term is (\S+) times the first-order one", out)
    assert share and 0 < float(share[1]) < 10


def measure(small: Small, folder: Path, changes: dict[str, Any]) -> HypergradientCheck:
    return check_hypergradient(override(TrainSettings(), quick(small, folder, changes)))


def test_a_trained_state_differs_from_the_first(small: Small, tmp_path: Path) -> None:
    start = run(small, tmp_path / "runs", {"training.max_epochs": 5, "training.run_name": "base"})
    trained = measure(small, tmp_path, {"training.warm_start": str(start)})
    first = measure(small, tmp_path, {})
    assert "trained state of base" in trained.about
    assert trained.exact.v_norm != pytest.approx(first.exact.v_norm, rel=1e-2)


@pytest.mark.parametrize(
    "changes",
    [
        {"bilevel.outer_data": "next"},
        {"bilevel.outer_data": "fold", "model.users": "frozen"},
        {"balance.fairness_strength": 0},
        {"balance.group": "user_activity", "balance.rule": "group_dro"},
    ],
)
def test_every_configuration(small: Small, tmp_path: Path, changes: dict[str, Any]) -> None:
    check = measure(small, tmp_path, changes)
    assert min(row.second.error for row in check.double) < 1e-6
    assert max(row.second.cosine for row in check.double) > 1 - 1e-9


def test_a_projector_without_kinks(small: Small, tmp_path: Path) -> None:
    """Smooth: the error falls as eps squared until rounding takes over, and nothing is said of kinks."""
    check = measure(small, tmp_path, {"model.projector": "linear"})
    assert check.kinks is None and kink_note(check) == ""
    error = [row.second.error for row in check.double]
    assert error[3] / error[2] == pytest.approx(1e-2, rel=0.1)


def test_kinks_are_seen(small: Small, tmp_path: Path) -> None:
    check = measure(small, tmp_path, {})
    assert check.kinks is not None
    assert check.kinks[0] > 0.1 and check.kinks == sorted(check.kinks, reverse=True) and check.kinks[-1] == 0
    assert kink_note(check).startswith("LeakyReLU kinks")


def test_against_a_product_done_by_hand() -> None:
    """L_in = sum theta_i^3 z_i / 3, L_out = sum theta_i z_i: s = theta^2 v, and s_eps - s = (e v)^2 v / 3."""
    generator = torch.Generator().manual_seed(0)
    t, z = (torch.rand(5, generator=generator, dtype=torch.float64) + 0.5 for _ in range(2))

    def inner(theta: Theta, z: Tensor) -> Tensor:
        return (theta["t"] ** 3 * z).sum() / 3

    def outer(theta: Theta, z: Tensor) -> Tensor:
        return (theta["t"] * z).sum()

    point = Point(inner, outer, {"t": t}, z)
    exact = reference(point, xi=0.1)
    assert torch.allclose(exact.v["t"], z) and exact.v_norm == pytest.approx(float(z.norm()))
    assert torch.allclose(exact.second, t**2 * z)
    moved = t - 0.1 * t**2 * z
    assert torch.allclose(exact.g_z, moved - 0.1 * t**2 * z)
    assert exact.share == pytest.approx(float(0.1 * (t**2 * z).norm() / moved.norm()))
    row = accuracy(point, exact, [0.1])[0]
    e = 0.1 / float(z.norm())
    assert row.second.error == pytest.approx(float((e**2 * z**3 / 3).norm() / (t**2 * z).norm()), rel=1e-6)
    assert row.whole.error == pytest.approx(0.1 * float((e**2 * z**3 / 3).norm() / exact.g_z.norm()), rel=1e-6)


def test_closeness() -> None:
    wanted = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert closeness(2 * wanted.float(), wanted).error == pytest.approx(1)
    assert closeness(2 * wanted, wanted).cosine == pytest.approx(1)
    assert closeness(torch.tensor([-4.0, 3.0]), wanted).cosine == pytest.approx(0)
