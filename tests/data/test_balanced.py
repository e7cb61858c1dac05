"""The text of `--balance.group`: several tables side by side, and their crossing."""

from __future__ import annotations

import numpy as np
import pytest

from bifair_dist.bilevel.weights.balance_settings import BalanceSettings
from bifair_dist.data.balanced import balanced_tables, check_known, group_labels, most_groups, table_names
from bifair_dist.data.dataset import GroupTable
from bifair_dist.errors import UserError


def table(name: str, entity: str, labels: str, pairs: list[tuple[int, int]]) -> GroupTable:
    index, group = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    return GroupTable(name, entity, tuple(labels), index, group)  # type: ignore[arg-type]


# Item 0 has two genres, item 3 none; item 4 is in no cut of popularity.
GENRE = table("genre", "item", "abc", [(0, 0), (0, 2), (1, 0), (2, 1), (4, 1)])
POPULARITY = table("popularity", "item", "xy", [(0, 1), (1, 0), (2, 1), (3, 0)])
AGE = table("age", "user", "st", [(0, 0), (1, 1)])
TABLES = {t.name: t for t in (GENRE, POPULARITY, AGE)}


def test_one_table_is_itself() -> None:
    assert balanced_tables("genre", TABLES) == [GENRE] and group_labels([GENRE]) == ("a", "b", "c")


def test_several_tables_keep_their_order_and_say_whose_a_group_is() -> None:
    found = balanced_tables("popularity, genre,age", TABLES)
    assert found == [POPULARITY, GENRE, AGE]
    assert group_labels(found)[:3] == ("popularity: x", "popularity: y", "genre: a")


def test_a_crossing_has_the_pairs_that_there_are() -> None:
    (crossed,) = balanced_tables("genre*popularity", TABLES)
    assert crossed.labels == ("a x x", "a x y", "b x y", "c x y")
    pairs = list(zip(crossed.entity_index.tolist(), crossed.group_index.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 3), (1, 0), (2, 2)]
    assert crossed.sizes().tolist() == [1, 1, 1, 1] and crossed.entity == "item"


def test_the_tables_of_a_crossing_are_judged_each_by_itself() -> None:
    assert table_names("genre*popularity,age") == ("genre", "popularity", "age")
    assert BalanceSettings(group="genre*popularity,genre").tables == ("genre", "popularity")
    assert most_groups("genre*popularity,age", {"genre": 3, "popularity": 2, "age": 2}) == 8


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("genre,", "lacks a name"),
        ("*genre", "lacks a name"),
        ("genre,genre", "names something twice"),
        ("genre*genre", "names something twice"),
    ],
)
def test_a_text_that_is_not_understood(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_known(text, TABLES, "here")


def test_a_table_that_there_is_not_and_a_crossing_of_items_with_users() -> None:
    with pytest.raises(UserError, match="here has no group table 'colour'; it has: genre, popularity, age"):
        check_known("genre*colour", TABLES, "here")
    with pytest.raises(UserError, match="genre is of items and age of users; write genre,age"):
        balanced_tables("genre*age", TABLES)
