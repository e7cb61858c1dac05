"""Spaces, the objective, the Pareto front: what a sweep is made of, without Ray Tune."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import make_small, quick

from bifair_dist.errors import UserError
from bifair_dist.experiments.objective import Baseline, objective
from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.ray_search import at_once, param_space
from bifair_dist.experiments.ray_trial import settings_of
from bifair_dist.experiments.space import FOLDER, Choice, Range, load_space
from bifair_dist.experiments.sweep import baseline
from bifair_dist.experiments.sweep_results import Trial, best_of, mark_front, same_point
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

SPACES = sorted(path.stem for path in FOLDER.glob("*.py"))
BASE = Baseline(recall=0.5, cv=0.4, minimum=0.1)
FINITE = st.floats(0.01, 1.0)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_builds_and_every_corner_is_a_setting(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert set(param_space(space, space.search)) == {*space.domains, "seed"}
    for config in space.grid():
        settings_of(TrainSettings(), {**space.fixed, **config}, Path("runs"), "x")  # raises out of bounds
    head = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    assert f"python jobs/tune.py --tune.space {name}" in head and "Hardware:" in head and "Minutes:" in head


@pytest.mark.parametrize("name", [n for n in SPACES if n != "smoke"])
def test_a_space_comes_with_reasons(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count("#") >= len(load_space(name).domains)


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"there are: .*bifair_core"):
        load_space("nowhere")


def test_grids() -> None:
    assert Range(1, 100, log=True).grid(3) == (1, 10, 100)
    assert Range(0.0, 1.0).grid(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Range(1, 3).grid(9) == (1, 2, 3)  # whole numbers, each once


@given(FINITE, FINITE)
def test_what_loses_too_much_accuracy_is_worse_than_the_baseline(recall: float, cv: float) -> None:
    value = objective(recall, cv, BASE, 0.99)
    if recall >= 0.99 * BASE.recall:
        assert value == cv
    else:
        assert value >= BASE.cv
        assert objective(recall * 0.9, cv, BASE, 0.99) > value  # and the more it loses, the worse
    assert objective(recall, cv + 0.1, BASE, 0.99) >= value


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_figures_that_are_none_are_the_worst(broken: float) -> None:
    assert objective(broken, 0.1, BASE, 0.9) == objective(0.5, broken, BASE, 0.9) == math.inf


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(POINTS, st.randoms())
def test_front(points: list[tuple[float, ...]], rng: random.Random) -> None:
    """By definition, whatever the order; the least sum is always on it."""
    front = pareto_front(points)
    for point, on in zip(points, front, strict=True):
        better = [o for o in points if all(a <= b for a, b in zip(o, point, strict=True)) and o != point]
        assert on == (not better)
    assert front[min(range(len(points)), key=lambda i: sum(points[i]))]
    order = list(range(len(points)))
    rng.shuffle(order)
    assert pareto_front([points[i] for i in order]) == [front[i] for i in order]


def trial(recall: float, cv: float, status: str = "finished", **config: float) -> Trial:
    value = objective(recall, cv, BASE, 0.99) if status != "failed" else math.inf
    return Trial(f"{recall}-{cv}", config, status, recall=recall, cv=cv, minimum=0.1, objective=value)


def test_best_is_the_fairest_that_keeps_its_accuracy() -> None:
    trials = [trial(0.5, 0.3, a=1), trial(0.499, 0.25, a=2), trial(0.4, 0.1, a=3), trial(0.6, 0.2, "stopped", a=4)]
    best = best_of(trials, 1, BASE, 0.99)
    assert best is not None and best.config == {"a": 2}
    assert best_of([trial(0.5, 0.1, "failed", a=1)], 1, BASE, 0.99) is None


def test_over_seeds_the_mean_decides() -> None:
    trials = [trial(0.5, 0.10, a=1, seed=0), trial(0.5, 0.50, a=1, seed=1),
              trial(0.5, 0.28, a=2, seed=0), trial(0.5, 0.26, a=2, seed=1)]  # fmt: skip
    best = best_of(trials, 2, BASE, 0.99)
    assert best is not None and best.config["a"] == 2 and best.cv == pytest.approx(0.27)


def test_a_seed_that_falls_short_by_a_hair_does_not_decide() -> None:
    """a = 1 keeps the recall in the mean and is the fairer; one of its seeds alone would be worth the baseline's CV."""
    trials = [trial(0.494, 0.2, a=1, seed=0), trial(0.51, 0.2, a=1, seed=1),
              trial(0.5, 0.28, a=2, seed=0), trial(0.5, 0.28, a=2, seed=1)]  # fmt: skip
    assert trials[0].objective > BASE.cv
    best = best_of(trials, 2, BASE, 0.99)
    assert best is not None and best.config["a"] == 1 and best.recall == pytest.approx(0.502)
    assert [same_point(t, best) for t in trials] == [True, True, False, False]


def test_failed_trials_are_not_on_the_front() -> None:
    trials = [trial(0.9, 0.01, "failed"), trial(0.5, 0.3), trial(0.4, 0.4)]
    trials[2].minimum = 0.2
    mark_front(trials)
    assert [t.front for t in trials] == [False, True, False]
    assert [t.front_min for t in trials] == [False, True, True]  # less recall, and a better served last group


def test_a_sweep_that_cannot_be_placed_is_refused_at_once() -> None:
    """Ray Tune would wait for ever."""
    with pytest.raises(UserError, match=r"a trial needs 2\.01 CPUs"):
        at_once(TrainSettings(), 0, {"CPU": 2.0})
    assert at_once(TrainSettings(), 0, {"CPU": 9.0}) == 4
    assert at_once(TrainSettings(), 3, {"CPU": 9.0}) == 3


def test_choices_reach_tune_whole() -> None:
    space = load_space("balance")
    domain = space.domains["balance.rule"]
    assert isinstance(domain, Choice)
    assert param_space(space, "random")["balance.rule"].categories == list(domain.values)


def test_sweeps_that_differ_in_the_fair_phase_only_share_a_baseline(tmp_path: Path) -> None:
    """Trained once; each reads the figures of its own group table from it."""
    small = make_small(tmp_path)
    first = quick(small, tmp_path / "runs", {"training.bilevel_epochs": 7})
    second = first | {"training.bilevel_epochs": 3, "bilevel.eta": 1e-4, "balance.group": "popularity"}
    bases = [override(TrainSettings(), changes) for changes in (first, second)]
    one, two = (baseline(base, tmp_path / "baselines") for base in bases)
    assert one.folder == two.folder and one.recall == two.recall and one.cv != two.cv
    other = baseline(override(bases[0], {"training.theta_lr": 5e-4}), tmp_path / "baselines")
    assert other.folder != one.folder
