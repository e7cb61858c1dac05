"""Requests that are ranked together each get what they would get alone, and a bad one spoils no other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_runs import Small, run

from bifair_dist.serving.answers import Ask, Found, Refusal, Row, answers
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.recommender import Recommender


@pytest.fixture(scope="module")
def model(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return recommender_of(run(small, tmp_path_factory.mktemp("runs"), {}))


def rows(table: pd.DataFrame) -> list[Row]:
    return list(zip(table["item_id"], table["title"], table["score"], strict=True))


def same(got: Found | Refusal, want: list[Row]) -> None:
    assert isinstance(got, Found) and got.version == "v"
    assert [row[:2] for row in got.rows] == [row[:2] for row in want]
    np.testing.assert_allclose([row[2] for row in got.rows], [row[2] for row in want], atol=1e-6)


def alone(model: Recommender, ask: Ask) -> list[Row]:
    if ask.user is not None:
        return rows(model.recommend([ask.user], ask.k, leave_out=ask.exclude))
    if ask.history is not None:
        return rows(model.recommend_for([ask.history], ask.k, leave_out=ask.exclude))
    return rows(model.similar_items(str(ask.item), ask.k))


def some(model: Recommender, draw: np.random.Generator) -> Ask:
    """A request of any kind, length and exclusions."""
    items = [str(item) for item in draw.choice(model.item_ids, draw.integers(1, 30), replace=False)]
    k = int(draw.choice([1, 5, 20, len(model.item_ids)]))
    match draw.integers(3):
        case 0:
            return Ask(k, user=str(draw.choice(model.user_ids)), exclude=tuple(items[: draw.integers(len(items))]))
        case 1:
            return Ask(k, history=tuple(items[:9]), exclude=tuple(items[5 : draw.integers(6, 30)]))
        case _:
            return Ask(k, item=items[0])


@pytest.mark.parametrize("seed", range(5))
def test_together_as_alone(model: Recommender, seed: int) -> None:
    draw = np.random.default_rng(seed)
    asks = [some(model, draw) for _ in range(32)]
    for ask, got in zip(asks, answers(model, "v", asks), strict=True):
        same(got, alone(model, ask))


def test_a_bad_one_spoils_no_other(model: Recommender) -> None:
    user, item = str(model.user_ids[0]), str(model.item_ids[0])
    good = [Ask(user=user), Ask(history=(item,)), Ask(item=item)]
    bad = [
        (Ask(user="nobody"), 404, "user: 'nobody' is no user"),
        (Ask(item="no"), 404, "item: 'no' is no item"),
        (Ask(history=("no",)), 404, "history: 'no' is no item"),
        (Ask(user=user, exclude=("no",)), 404, "exclude: 'no' is no item"),
        (Ask(0, user=user), 422, "k: 0; give 1 or more"),
        (Ask(history=()), 422, "history: empty"),
    ]
    got = answers(model, "v", [*(ask for ask, _, _ in bad), *good])
    for found, (_, status, said) in zip(got, bad, strict=False):
        assert isinstance(found, Refusal) and found.status == status and said in found.reason
    for found, ask in zip(got[len(bad) :], good, strict=True):
        same(found, alone(model, ask))


def test_a_user_asked_for_twice_gets_two_lists(model: Recommender) -> None:
    user = str(model.user_ids[1])
    long, short = answers(model, "v", [Ask(7, user=user), Ask(6, user=user)])
    assert isinstance(long, Found) and isinstance(short, Found)
    assert len(long.rows) == 7 and short.rows == long.rows[:6]
