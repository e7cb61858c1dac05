"""The rule that chooses a state, a trial or a point: its definition and what must not change it."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.evaluation.choice import Figures, choose, feasible, objective, unfairness

# Thirty-seconds: ratios and bounds are then compared without rounding in the tests that scale.
SHARE = st.integers(1, 32).map(lambda n: n / 32)
FIGURES = st.builds(Figures, SHARE, SHARE, st.tuples(SHARE, SHARE))
CANDIDATES = st.lists(FIGURES, max_size=8)
BUDGET = st.integers(0, 16).map(lambda n: n / 32)
BASE = Figures(0.5, 0.4, (0.4,))


@given(FIGURES, CANDIDATES, BUDGET)
def test_by_definition(base: Figures, candidates: list[Figures], budget: float) -> None:
    keep = 1 - budget
    allowed = [c for c in candidates if c.recall >= keep * base.recall and c.ndcg >= keep * base.ndcg]
    fairer = [c for c in allowed if unfairness(base, c) < 1]
    chosen = choose(base, candidates, budget)
    if not fairer:
        assert chosen is None
        return
    assert chosen is not None
    found = candidates[chosen]
    least = min(unfairness(base, c) for c in fairer)
    assert found in fairer and unfairness(base, found) == least
    equal = [c for c in fairer if unfairness(base, c) == least]
    assert found.recall == max(c.recall for c in equal)
    assert chosen == min(i for i, c in enumerate(candidates) if c in equal and c.recall == found.recall)


@given(FIGURES, CANDIDATES, BUDGET, st.sampled_from([0.25, 0.5, 2.0]), st.sampled_from([0.25, 0.5, 2.0]))
def test_units_do_not_matter(
    base: Figures, candidates: list[Figures], budget: float, accuracy: float, cv: float
) -> None:
    """Accuracy in percent, or each table's CV in a unit of its own, choose the same."""

    def scaled(f: Figures) -> Figures:
        return Figures(accuracy * f.recall, f.ndcg, (cv * f.cvs[0], f.cvs[1]))

    assert choose(scaled(base), [scaled(c) for c in candidates], budget) == choose(base, candidates, budget)


@given(FIGURES, CANDIDATES, BUDGET, st.randoms())
def test_the_order_matters_among_equals_only(
    base: Figures, candidates: list[Figures], budget: float, rng: random.Random
) -> None:
    order = list(range(len(candidates)))
    rng.shuffle(order)
    mixed = [candidates[i] for i in order]
    first, second = choose(base, candidates, budget), choose(base, mixed, budget)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        a, b = candidates[first], mixed[second]
        assert (unfairness(base, a), a.recall) == (unfairness(base, b), b.recall)


@given(FIGURES, CANDIDATES, BUDGET, BUDGET)
def test_a_larger_budget_is_never_less_fair(base: Figures, candidates: list[Figures], one: float, two: float) -> None:
    def reached(budget: float) -> float:
        chosen = choose(base, candidates, budget)
        return 1.0 if chosen is None else unfairness(base, candidates[chosen])

    assert reached(max(one, two)) <= reached(min(one, two)) <= 1


@given(FIGURES, FIGURES, BUDGET)
def test_the_objective_decides_as_the_choice_does(base: Figures, candidate: Figures, budget: float) -> None:
    """One rule for the searcher, the scheduler and the choice: below 1 exactly where it is chosen against the base."""
    value = objective(base, candidate, budget)
    assert (value < 1) == (choose(base, [candidate], budget) == 0)
    if not feasible(base, candidate, budget):
        assert value >= 1
        assert objective(base, replace(candidate, recall=candidate.recall / 2), budget) >= value
    assert objective(base, base, budget) == 1 and choose(base, [base], budget) is None


def test_of_several_tables_the_one_that_gained_least_counts() -> None:
    base = Figures(0.5, 0.4, (1.0, 0.5))
    one_sided, both = Figures(0.5, 0.4, (0.3, 0.51)), Figures(0.5, 0.4, (0.9, 0.45))
    assert objective(base, one_sided, 0.01) == pytest.approx(1.02) and objective(base, both, 0.01) == pytest.approx(0.9)
    assert choose(base, [one_sided, both], 0.01) == 1 and choose(base, [one_sided], 0.01) is None


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["recall", "ndcg", "cvs"])
def test_a_candidate_with_a_figure_that_is_none_is_never_chosen(field: str, broken: float) -> None:
    good = Figures(0.5, 0.4, (0.3,))
    changed: dict[str, Any] = {field: (broken,) if field == "cvs" else broken}
    bad = replace(good, **changed)
    assert objective(BASE, bad, 0.01) == math.inf
    assert choose(BASE, [bad, good], 0.01) == 1


def test_a_table_that_the_base_has_no_cv_of_is_left_out() -> None:
    base = Figures(0.5, 0.4, (0.4, math.nan))
    assert choose(base, [Figures(0.5, 0.4, (0.2, math.nan))], 0) == 0
    assert choose(replace(base, cvs=(math.nan, math.nan)), [Figures(0.5, 0.4, (0.2, 0.1))], 0) is None
    assert choose(replace(base, recall=math.nan), [Figures(0.5, 0.4, (0.2, 0.1))], 0.5) is None


def test_a_base_of_zero_cv_cannot_be_beaten_there() -> None:
    base = Figures(0.5, 0.4, (0.0,))
    assert choose(base, [base, Figures(0.6, 0.5, (0.1,))], 0) is None
