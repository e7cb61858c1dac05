"""Inputs as people have them (`shared/data/field-cases`): each is read with the right value, or refused in one line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.prepare import PrepareOptions, prepare
from bifair_dist.data.reading import Notes
from bifair_dist.errors import UserError
from bifair_dist.report.lists import read_groups

LIKED = 191  # pairs rated 4 and above in the inputs that have ratings; all of them survive the 2-core
ALL = 240
GENRES = {"Action", "Comedy", "Drama"}


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Path:
    folder = shared_data / "field-cases"
    if not folder.is_dir():
        pytest.skip("field-cases is not among the shared data of this machine")
    return folder


Prepared = tuple[Dataset, dict[str, Any]]


def prepared(cases: Path, out: Path, name: str, source: str, **options: Any) -> Prepared:
    """The dataset of one input and its manifest."""
    manifest = prepare(source, cases / name, out, PrepareOptions(**{"k_core": 2, **options}))
    return read_dataset(out), manifest


def labels(dataset: Dataset, table: str = "genre") -> set[str]:
    return set(dataset.groups[table].labels)


def told(manifest: dict[str, Any]) -> str:
    return "\n".join([*manifest["read"]["as"], *manifest["warnings"]])


def titles(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.item_ids.tolist(), dataset.titles.tolist(), strict=True))


READ: dict[str, tuple[str, dict[str, Any], int, Callable[[Dataset, dict[str, Any]], bool]]] = {
    "a_2014": ("amazon2014", {}, LIKED, lambda d, m: titles(d)["B001001"] == "Item number 0 of action it's"),
    "a_macos": ("amazon2023", {}, LIKED, lambda d, m: d.n_items == 30),
    "a_surrogate_text": ("amazon2023", {}, LIKED, lambda d, m: d.n_items == 30),
    "g_capital": ("generic", {}, LIKED, lambda d, m: "'Rating' is read as rating" in told(m)),
    "g_comma_genres": (
        "generic",
        {"groups": ("genre",)},
        LIKED,
        lambda d, m: labels(d) == GENRES | {"Pizza", "Food"} and "split by ','" in told(m),
    ),
    "g_float_user_ids": (
        "generic",
        {"groups": ("user:gender",)},
        LIKED,
        lambda d, m: labels(d, "user_gender") == {"F", "M"} and "24 of 24 users" in told(m) and "101" in d.user_ids,
    ),
    "g_four_each": ("generic", {}, 92, lambda d, m: "no pair in valid" in told(m)),
    "g_labels": ("generic", {"groups": ("genre:99",)}, LIKED, lambda d, m: {"N/A", "R&B", "日本語"} <= labels(d)),
    "g_llo": ("generic", {"split": "leave-last-out"}, 24, lambda d, m: "no pair in valid" in told(m)),
    "g_pylist_genres": ("generic", {"groups": ("genre",)}, LIKED, lambda d, m: labels(d) == GENRES | {"Indie"}),
    "g_rating_space": ("generic", {}, LIKED, lambda d, m: d.n_items == 30),
    "g_review_newline": ("generic", {}, LIKED, lambda d, m: "not read: review" in told(m)),
    "g_slash": (
        "generic",
        {"groups": ("provider:brand",)},
        LIKED,
        lambda d, m: labels(d, "provider") == {"Home / Kitchen /", "AC/DC", "Acme", "Foo//Bar"},
    ),
    "l_titles_blank": (
        "lightgcn",
        {"k_core": 1, "missing_title": "drop"},
        162,
        lambda d, m: "4" not in d.item_ids and all(titles(d)[i].startswith(f"Item number {i} ") for i in titles(d)),
    ),
    "ml100k": ("movielens", {}, LIKED, lambda d, m: titles(d)["1001"] == "Item number 0 of action é (1995)"),
    "ml_mixed_encoding": (
        "movielens",
        {"groups": ("genre",)},
        LIKED,
        lambda d, m: labels(d) == GENRES and "line 18" in told(m) and "Амели 千と é" in titles(d)["1001"],
    ),
    "movietweetings": (
        "movielens",
        {"groups": ("genre",)},
        ALL,
        lambda d, m: labels(d) == GENRES | {"Short"} and "--min-rating" in told(m),
    ),
    "p_largelist": ("generic", {"groups": ("genre:fixed",)}, LIKED, lambda d, m: labels(d) == {"a", "b"}),
    "p_polars138": ("generic", {"groups": ("genre",)}, LIKED, lambda d, m: labels(d) == GENRES),
    "p_spark": ("generic", {"groups": ("genre",)}, LIKED, lambda d, m: labels(d) == GENRES),
    "p_title_list": ("generic", {}, ALL, lambda d, m: titles(d)["1001"] == "Item number 0 of action"),
    "p_uuid4": ("generic", {}, ALL, lambda d, m: all(len(user) == 36 for user in d.user_ids)),
    "p_uuid_ext": ("generic", {}, ALL, lambda d, m: "e88b7591-31db-6e32-d8dc-b35f94c662cd" in d.user_ids),
    "r_amazon": (
        "recbole",
        {"groups": ("genre:categories:8+rest",)},
        LIKED,
        lambda d, m: (
            labels(d) == {"Books", *(f"{genre} & Adventure" for genre in GENRES)}
            and titles(d)["1001"] == 'Item number 0 of action 12" single'
        ),
    ),
    "r_newline": ("recbole", {}, LIKED, lambda d, m: titles(d)["1005"] == "Item number 4 of drama"),
    "r_title_choice": (
        "recbole",
        {},
        LIKED,
        lambda d, m: titles(d)["1001"] == "Item number 0 of action" and "not subtitle, brand_name" in told(m),
    ),
    "v_items": ("generic", {"groups": ("genre",)}, LIKED, lambda d, m: labels(d) == GENRES),
    "v_users": ("generic", {"groups": ("user:gender",)}, LIKED, lambda d, m: labels(d, "user_gender") == {"F", "M"}),
}

REFUSED: dict[str, tuple[str, str]] = {
    "a_nan_rating": ("amazon2023", "Movies.jsonl, line 8: rating 'nan' is not a number"),
    "g_dup_column": ("generic", "items.csv: column 'title' occurs twice"),
    "g_nan_user": ("generic", "interactions.csv, line 2: user_id 'nan' is no id"),
    "l_pairs": ("lightgcn", "train.txt: looks like pairs .* --source generic"),
    "l_titles_blank": ("lightgcn", "titles.txt: no title for item '4' and 0 more"),
    "p_nan_id": ("generic", "interactions.parquet, row 4: user_id is empty"),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_read_with_the_right_value(name: str, cases: Path, tmp_path: Path) -> None:
    source, options, pairs, right = READ[name]
    dataset, manifest = prepared(cases, tmp_path / "out", name, source, **options)
    assert manifest["counts"]["pairs"] == pairs
    assert right(dataset, manifest), told(manifest)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_and_nothing_is_written(name: str, cases: Path, tmp_path: Path) -> None:
    source, line = REFUSED[name]
    options = {"k_core": 1} if name.startswith("l_") else {}
    with pytest.raises(UserError, match=line) as error:
        prepared(cases, tmp_path / "out", name, source, **options)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_all_inputs_are_tested(cases: Path) -> None:
    there = {folder.name for folder in cases.iterdir() if folder.is_dir()}
    assert there == {*READ, *REFUSED, "evaluate", "r_benchmark"}


def test_2014_metadata_read_as_2018_says_what_it_is(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"meta_Movies\.json\.gz, line 1: a Python literal.*--source amazon2014"):
        prepared(cases, tmp_path / "out", "a_2014", "amazon2018")


def test_recbole_keeps_the_given_split(cases: Path, tmp_path: Path) -> None:
    """Its users are each in one part only: those of valid and test have no train pair and go, which is reported."""
    dataset, manifest = prepared(cases, tmp_path / "out", "r_benchmark", "recbole")
    assert manifest["options"]["split"] == "given" and "no pair in valid and test" in told(manifest)
    with (cases / "r_benchmark" / "x.train.inter").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if float(row["rating:float"]) >= 4]
    train = {
        (dataset.user_ids[u], dataset.item_ids[i]) for u, i in zip(dataset.train.user, dataset.train.item, strict=True)
    }
    assert train == {(row["user_id:token"], row["item_id:token"]) for row in rows}


def test_quoted_newlines_above_the_block_size(cases: Path, tmp_path: Path) -> None:
    """More than 16 MiB: a block of the reader ends within a quoted review."""
    folder = tmp_path / "in"
    folder.mkdir()
    source = cases / "g_review_newline"
    (folder / "items.csv").write_bytes((source / "items.csv").read_bytes())
    with (source / "interactions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["review"] += '\n101,1001,5,1500000000,x\n"'.join(f" line {n}, more" for n in range(3000))
    with (folder / "interactions.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert (folder / "interactions.csv").stat().st_size > 1 << 24
    manifest = prepare("generic", folder, tmp_path / "out", PrepareOptions(k_core=2))
    assert manifest["read"]["pairs"] == ALL and manifest["counts"]["pairs"] == LIKED


@pytest.mark.parametrize(
    ("name", "sizes", "line"),
    [
        ("gnull.parquet", [14, 15], ""),
        ("gblank.csv", [14, 15], ""),
        ("glist.parquet", [15, 30], ""),
        ("gextra.csv", [15, 15], "1 of 31 rows are of items that the dataset does not have"),
    ],
)
def test_group_tables_for_evaluation(name: str, sizes: list[int], line: str, cases: Path, tmp_path: Path) -> None:
    dataset, _ = prepared(cases, tmp_path / "out", "g_capital", "generic")
    notes = Notes()
    groups = read_groups(cases / "evaluate" / name, dataset, notes)
    assert (groups.labels, groups.sizes().tolist()) == (("A", "B"), sizes)
    assert line in "\n".join(notes.said)
