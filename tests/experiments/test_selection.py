"""Which trial and point is chosen: by the rule by which each training keeps its state."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_trials import BASE, PLAIN, RULE, made, summary

from bifair_dist.experiments.pareto import pareto_front
from bifair_dist.experiments.selection import Result, mark_front
from bifair_dist.experiments.trial import Figures, Trial
from bifair_dist.runs import Run, Validation
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

FINITE = st.floats(0.01, 1.0)


@given(FINITE, FINITE)
def test_what_loses_too_much_accuracy_is_worse_than_the_baseline(recall: float, cv: float) -> None:
    value = RULE.score(summary(recall, cv))
    if recall >= 0.99 * 0.5:
        assert value == cv / 0.4
    else:
        assert value >= 1
        assert RULE.score(summary(recall * 0.9, cv)) > value  # and the more it loses, the worse
    assert RULE.score(summary(recall, cv + 0.1)) >= value
    assert RULE.score(BASE) == 1


def result(recall: float, cv: float, status: str = "finished", seed: int = 0, **point: float) -> Result:
    found = summary(recall, cv)
    value = RULE.score(found) if status != "failed" else math.inf
    return Result(f"{recall}-{cv}", dict(point), seed, status, value, Figures.of(found, "genre"), found)


def test_best_is_the_fairest_that_keeps_its_accuracy() -> None:
    trials = [
        result(0.5, 0.3, a=1),
        result(0.499, 0.25, a=2),
        result(0.4, 0.1, a=3),
        result(0.6, 0.2, "stopped", a=4),
    ]
    best = RULE.best(trials)
    assert best is not None and best.point == {"a": 2}
    assert RULE.best([result(0.5, 0.1, "failed", a=1)]) is None
    plain = PLAIN.best([result(0.5, 0.3, a=1), result(0.6, 0.9, a=2)])
    assert plain is not None and plain.point == {"a": 2}  # on the plain loss accuracy alone counts


def test_over_seeds_the_mean_decides() -> None:
    trials = [
        result(0.5, 0.10, a=1, seed=0),
        result(0.5, 0.50, a=1, seed=1),
        result(0.5, 0.28, a=2, seed=0),
        result(0.5, 0.26, a=2, seed=1),
    ]
    best = RULE.best(trials, 2)
    assert best is not None and best.point["a"] == 2 and best.figures.cv == pytest.approx(0.27)


def test_a_seed_that_falls_short_by_a_hair_does_not_decide() -> None:
    """a = 1 keeps the recall in the mean and is the fairer; one of its seeds alone would be worth the baseline's CV."""
    trials = [
        result(0.494, 0.2, a=1, seed=0),
        result(0.51, 0.2, a=1, seed=1),
        result(0.5, 0.28, a=2, seed=0),
        result(0.5, 0.28, a=2, seed=1),
    ]
    assert trials[0].objective > 1
    best = RULE.best(trials, 2)
    assert best is not None and best.point["a"] == 1 and best.figures.recall == pytest.approx(0.502)


def test_failed_trials_are_not_on_the_front() -> None:
    trials = [result(0.9, 0.01, "failed"), result(0.5, 0.3), result(0.4, 0.4)]
    trials[2].figures = Figures(0.4, 0.4, 0.4, 0.2)
    mark_front(trials)
    assert [t.front for t in trials] == [False, True, False]
    assert [t.front_min for t in trials] == [False, True, True]  # less recall, and a better served last group


def test_recall_and_ndcg_are_both_kept(tmp_path: Path) -> None:
    trials = [
        made(tmp_path, "fair but inaccurate", summary(0.40, 0.1, 0.40), a=1),
        made(tmp_path, "keeps recall alone", summary(0.50, 0.2, 0.39), a=2),
        made(tmp_path, "right", summary(0.496, 0.3, 0.497), a=3),
        made(tmp_path, "safe", summary(0.52, 0.35, 0.52), a=4),
    ]
    for order in (trials, trials[::-1]):
        best = RULE.best([RULE.result(trial) for trial in order])
        assert best is not None and best.name == "right"
    plain = PLAIN.best([PLAIN.result(trial) for trial in trials])
    assert plain is not None and plain.name == "safe"


def test_a_trial_is_judged_by_the_state_it_keeps(tmp_path: Path) -> None:
    """While it runs by the best one so far, not the latest; at its end by what it kept."""
    place = {"training.output": str(tmp_path), "training.run_name": "one"}
    trial = Trial(override(TrainSettings(), place), {"a": 1})
    trial.folder.mkdir()
    assert RULE.result(trial).objective == math.inf
    for epoch, (cv, best) in enumerate(((0.2, True), (0.3, False))):
        Run(trial.folder).append_validation(Validation("bilevel", epoch, epoch, 1.0, best, summary(0.5, cv)))
    assert RULE.result(trial).objective == pytest.approx(0.5) and RULE.result(trial).status == "stopped"
    made(tmp_path, "one", summary(0.5, 0.1))
    assert RULE.result(trial).objective == pytest.approx(0.25) and RULE.result(trial).status == "finished"


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_figures_that_are_none_are_the_worst(broken: float) -> None:
    assert RULE.score(summary(broken, 0.1)) == RULE.score(summary(0.5, broken)) == math.inf


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


def test_what_j_is_is_said() -> None:
    assert "CV of genre" in RULE.explained("the baseline") and "99 % of the baseline's" in RULE.explained(
        "the baseline"
    )
    assert PLAIN.explained("the baseline").startswith("J is recall@20 with a minus")
