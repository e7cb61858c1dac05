"""The states between AlphaRec's and the fair one: their definition, and which of them is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Small, metrics_of, run, theta_of, vectors_of

from bifair_dist.evaluation.choice import Figures
from bifair_dist.runs.summary import GroupFigures, Summary
from bifair_dist.training.front import Point, between, chosen, harmed
from bifair_dist.training.front_files import sentence


def test_between_is_the_straight_line_and_its_ends_are_exact() -> None:
    start = ({"w": torch.randn(3, 2)}, torch.randn(5, 4))
    end = ({"w": torch.randn(3, 2)}, torch.randn(5, 4))
    assert between(start, end, 0.0) is start and between(start, end, 1.0) is end
    theta, z = between(start, end, 0.3)
    torch.testing.assert_close(theta["w"], 0.7 * start[0]["w"] + 0.3 * end[0]["w"])
    torch.testing.assert_close(z, 0.7 * start[1] + 0.3 * end[1])


def point(a: float, recall: float, cv: float, error: float) -> Point:
    return Point(a, Summary({}), Figures(recall, 0.4, (cv,)), Figures(recall - error, 0.4 - error, (cv + error,)))


def test_a_point_is_judged_by_what_its_error_leaves() -> None:
    base = point(0.0, 0.5, 1.0, 0.0)
    sure, lucky = point(0.3, 0.5, 0.9, 0.001), point(0.9, 0.5, 0.85, 0.2)
    assert chosen([base, sure, lucky], ("t",), 0.01) == 0.3  # the lucky one may have lost a fifth of its accuracy
    assert chosen([base, sure, lucky], ("t",), 0.6) == 0.3  # its CV is not surely lower
    assert chosen([base, point(0.9, 0.5, 0.85, 0.001), sure], ("t",), 0.01) == 0.9


def test_without_a_fairer_state_alpharec_stays() -> None:
    base = point(0.0, 0.5, 1.0, 0.0)
    assert chosen([base, point(0.5, 0.6, 1.1, 0.0), point(1.0, 0.4, 0.2, 0.0)], ("t",), 0.01) == 0.0


@pytest.mark.parametrize("method", ["bifair", "theta_only", "separate"])
def test_a_point_is_a_run_between_the_ends(method: str, small: Small, tmp_path: Path) -> None:
    """Kept at .4, what is written is on the line from the state before to the end that is written beside it."""
    ends = {"training.method": method, "training.run_name": method, "bilevel.eta": 1e-2}
    folder = run(small, tmp_path, ends | {"balance.interpolation": 0.4})
    whole = run(small, tmp_path / "whole", ends)
    first, last = vectors_of(small.representations), vectors_of(whole / "item_representations")
    np.testing.assert_allclose(vectors_of(folder / "item_representations"), 0.6 * first + 0.4 * last, atol=1e-6)
    if method != "theta_only":
        np.testing.assert_array_equal(vectors_of(folder / "front_end" / "item_representations"), last)
    before = run(small, tmp_path / "before", ends | {"balance.interpolation": 0.0})
    for name, t in theta_of(folder).items():
        np.testing.assert_allclose(t, 0.6 * theta_of(before)[name] + 0.4 * theta_of(whole)[name], atol=1e-6)


def test_kept_at_zero_is_alpharec_itself(small: Small, tmp_path: Path) -> None:
    folder = run(small, tmp_path, {"balance.interpolation": 0.0})
    metrics = metrics_of(folder)
    assert metrics["test"] == metrics["before"]["test"] and metrics["valid"] == metrics["before"]["valid"]
    assert not (folder / "front_end" / "metrics.json").exists()
    front = json.loads((folder / "front.json").read_text())
    assert front["points"][0]["unfairness"] == 1.0 and front["kept"] == 0.0


def test_a_run_that_finds_nothing_fairer_says_so(small: Small, tmp_path: Path) -> None:
    """Nothing is fairer by more than its error where the fair phase hardly moves."""
    folder = run(small, tmp_path, {"balance.interpolation": "none", "bilevel.eta": 1e-9, "bilevel.theta_lr": 1e-9})
    assert "no fairer state within 1 % of AlphaRec's accuracy: kept AlphaRec's" in (folder / "train.log").read_text()
    assert metrics_of(folder)["test"] == metrics_of(folder)["before"]["test"]


def with_table(a: float, cv: float, watched: float, worst: float | None = None) -> Point:
    valid = Summary(
        {}, {"t": GroupFigures(cv), "watched": GroupFigures(watched, 1 - watched if worst is None else worst)}
    )
    return Point(a, valid, Figures(0.5, 0.4, (cv,)), Figures(0.5, 0.4, (cv,)))


def test_fairness_to_one_table_is_not_taken_from_another() -> None:
    base, mild, bold = with_table(0.0, 1.0, 0.5), with_table(0.5, 0.9, 0.54), with_table(1.0, 0.5, 0.56)
    assert harmed(base.valid, bold.valid, ("t",)) == ["watched"] and harmed(base.valid, mild.valid, ("t",)) == []
    assert chosen([base, mild, bold], ("t",), 0.01) == 0.5
    assert harmed(base.valid, bold.valid, ("t", "watched")) == []  # a balanced table is in the choice itself
    all_gain = with_table(1.0, 0.5, 0.56, worst=0.5)  # further apart, but nobody is worse off
    assert harmed(base.valid, all_gain.valid, ("t",)) == []


def test_the_sentence_names_the_table_that_stood_in_the_way() -> None:
    base, bold = with_table(0.0, 1.0, 0.5), with_table(1.0, 0.5, 0.56)
    assert chosen([base, bold], ("t",), 0.01) == 0.0
    assert "leaves watched as fair as it was" in sentence([base, bold], base, ("t",), 0.01)
    worse = with_table(1.0, 1.1, 0.5)
    assert "try a larger --balance.accuracy_budget" in sentence([base, worse], base, ("t",), 0.01)
