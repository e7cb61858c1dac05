"""Group tables and the language that asks for them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.data.dataset import GroupTable
from bifair_dist.data.groups import build_group, parse_group, parse_groups
from bifair_dist.data.labels import label_groups
from bifair_dist.data.popularity import KINDS, count_groups
from bifair_dist.errors import UserError

COUNTS = st.lists(st.integers(0, 30), min_size=5, max_size=60).map(lambda c: np.array(c, np.int64))


def members(table: GroupTable) -> dict[str, list[int]]:
    return {label: table.entity_index[table.group_index == g].tolist() for g, label in enumerate(table.labels)}


@given(COUNTS, st.sampled_from(["quintiles", "quartiles"]))
def test_quantiles_have_equal_sizes_and_stable_ties(counts: np.ndarray, kind: str) -> None:
    table = count_groups("popularity", "item", counts, kind)
    sizes = table.sizes()
    assert len(sizes) == KINDS[kind] and sizes.max() - sizes.min() <= 1 and sizes.sum() == len(counts)
    # Reference: Python's stable sort by descending count, cut at rank * G // n.
    ranked = sorted(range(len(counts)), key=lambda i: -counts[i])
    for rank, i in enumerate(ranked):
        assert table.group_index[i] == rank * KINDS[kind] // len(counts)
    assert (table.labels[0], table.labels[-1]) == ("Q1-head", f"Q{KINDS[kind]}-tail")


@given(COUNTS)
def test_equal_mass_is_ordered_complete_and_balanced(counts: np.ndarray) -> None:
    table = count_groups("popularity", "item", counts, "equal_mass")
    assert (table.sizes() > 0).all() and table.sizes().sum() == len(counts)
    order = np.argsort(-counts, kind="stable")
    assert (np.diff(table.group_index[order]) >= 0).all()


def test_equal_mass_known_answer() -> None:
    counts = np.array([10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 10, 10, 10], np.int64)  # 50 in all, 10 per group
    table = count_groups("popularity", "item", counts, "equal_mass")
    assert np.bincount(table.group_index, weights=counts).tolist() == [10.0] * 5
    assert members(table)["Q1-head"] == [0] and members(table)["Q5-tail"] == list(range(1, 11))


def test_equal_mass_with_one_giant_leaves_no_group_empty() -> None:
    table = count_groups("popularity", "item", np.array([100, 1, 1, 1, 1, 1], np.int64), "equal_mass")
    assert table.sizes().tolist() == [1, 1, 1, 1, 2]


def test_labels_multi_valued_top_and_rest() -> None:
    column = pa.array(["a|b", "b", " c | a ", None, "", "d|d"])
    counts = np.array([5, 4, 3, 2, 1, 1], np.int64)  # a: 8, b: 9, c: 3, d: 1
    table = label_groups("genre", "item", column, counts, top=2, rest=True)
    assert table.labels == ("b", "a", "rest")
    assert members(table) == {"b": [0, 1], "a": [0, 2], "rest": [3, 4, 5]}
    without = label_groups("genre", "item", column, counts, top=2, rest=False)
    assert members(without) == {"b": [0, 1], "a": [0, 2]}
    everything = label_groups("genre", "item", column, counts, top=None, rest=False)
    assert everything.labels == ("b", "a", "c", "d") and members(everything)["d"] == [5]


def test_label_ties_go_by_name_and_lists_are_understood() -> None:
    column = pa.array([["z"], ["y", "x"], ["x", None]])
    table = label_groups("genre", "item", column, np.array([2, 1, 1], np.int64), top=2, rest=False)
    assert table.labels == ("x", "z")  # both have two interactions


@given(
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=30), st.integers(1, 6), st.booleans(), st.data()
)
def test_labels_against_sets(cells: list[set[str]], top: int, rest: bool, data: st.DataObject) -> None:
    counts = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(cells), max_size=len(cells))), np.int64)
    table = label_groups("g", "item", pa.array(["|".join(sorted(c)) for c in cells]), counts, top=top, rest=rest)
    mass = {v: sum(n for c, n in zip(cells, counts, strict=True) if v in c) for v in set().union(*cells)}
    best = sorted(mass, key=lambda v: (-mass[v], v))[:top]
    expected = {v: [i for i, c in enumerate(cells) if v in c] for v in best}
    left = [i for i, c in enumerate(cells) if not c & set(best)]
    if rest and left:
        expected["rest"] = left
    assert members(table) == expected and list(table.labels) == list(expected)
    assert (np.diff(table.entity_index * 10 + table.group_index) > 0).all()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("popularity", ("popularity", "popularity", None, "quintiles", None, False)),
        ("pop2=popularity:equal_mass", ("pop2", "popularity", None, "equal_mass", None, False)),
        ("genre:8+rest", ("genre", "genre", "genres", "quintiles", 8, True)),
        ("genre:primary_genre:5", ("genre", "genre", "primary_genre", "quintiles", 5, False)),
        ("provider:authors", ("provider", "provider", "authors", "quintiles", 10, False)),
        ("user:gender", ("user_gender", "user", "gender", "quintiles", None, False)),
        ("user:activity:quartiles", ("user_activity", "user", None, "quartiles", None, False)),
        ("user:home town:3+rest", ("user_home_town", "user", "home town", "quintiles", 3, True)),
    ],
)
def test_grammar(spec: str, expected: tuple[object, ...]) -> None:
    parsed = parse_group(spec)
    assert (parsed.name, parsed.form, parsed.column, parsed.kind, parsed.top, parsed.rest) == expected


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["popularty"], "did you mean 'popularity'"),
        (["popularity:quintile"], "did you mean 'quintiles'"),
        (["provider"], "name the column"),
        (["genre:a:b:3"], "not understood"),
        (["genre:8", "genre:tags:4"], "two tables named 'genre'"),
        (["../up=genre:8"], "must be made of letters"),
    ],
)
def test_grammar_errors(specs: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_groups(specs)


def test_build_names_the_missing_column() -> None:
    items, users = pa.table({"item_id": ["a"], "genres": [None]}), pa.table({"user_id": ["u"], "gender": ["f"]})
    one = np.ones(1, np.int64)
    with pytest.raises(UserError, match="items have no column 'genre'; did you mean 'genres'"):
        build_group(parse_group("genre:genre"), items, users, one, one)
    with pytest.raises(UserError, match="empty for every item"):
        build_group(parse_group("genre:3+rest"), items, users, one, one)
    table = build_group(parse_group("user:gender"), items, users, one, one)
    assert (table.entity, table.labels) == ("user", ("f",))
