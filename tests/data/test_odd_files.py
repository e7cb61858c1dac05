"""Further inputs of the kinds of `shared/data/field-cases`: what a file is by its content, what stands for no value."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.prepare import PrepareOptions, prepare
from bifair_dist.errors import UserError

DAY = 86_400
PAIRS = pd.DataFrame(
    [(f"u{u}", f"i{i}", 4 + (u + i) % 2, 1_500_000_000 + DAY * u + i) for u in range(8) for i in range(12)],
    columns=["user_id", "item_id", "rating", "timestamp"],
)
ITEMS = pd.DataFrame({"item_id": [f"i{i}" for i in range(12)], "title": [f"Number {i} of all" for i in range(12)]})
Case = Callable[[Path], None]


def brands(*names: str) -> pd.DataFrame:
    """The items with brands that come in turns."""
    return ITEMS.assign(brand=[names[i % len(names)] for i in range(12)])


def written(folder: Path, pairs: pd.DataFrame = PAIRS, items: pd.DataFrame = ITEMS) -> Path:
    folder.mkdir()
    pairs.to_csv(folder / "interactions.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    return folder


def manifest(folder: Path, **options: Any) -> dict[str, Any]:
    return prepare("generic", folder, folder.parent / "out", PrepareOptions(**{"k_core": 1, **options}))


def test_compression_is_seen_by_content_not_by_name(tmp_path: Path) -> None:
    folder = written(tmp_path / "in")
    pairs, items = folder / "interactions.csv", folder / "items.csv"
    pairs.write_bytes(gzip.compress(pairs.read_bytes()))
    items.rename(folder / "items.csv.gz")  # a browser unpacks, and leaves the name
    assert manifest(folder)["counts"]["pairs"] == len(PAIRS)
    assert read_dataset(tmp_path / "out").titles[0] == "Number 0 of all"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"PAR1\x15\x04\x15", "is a Parquet file, not text; name it .parquet"),
        (b"PK\x03\x04\x14\x00", "is a zip archive or a spreadsheet, not text; unpack it"),
        (b"BZh91AY&SY", "is compressed with bzip2, not text; unpack it"),
        ("user_id,item_id\n1,2\n".encode("utf-16-le"), "UTF-16 without its mark; write it as UTF-8"),
    ],
)
def test_what_is_no_text_is_named(content: bytes, line: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "in")
    (folder / "interactions.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"interactions\.csv: .*{line}"):
        manifest(folder)


@pytest.mark.parametrize("name", ["items.json", "items.xlsx", "items.csv.bz2"])
def test_a_table_of_a_kind_that_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "in")
    (folder / "items.csv").rename(folder / name)
    with pytest.raises(UserError, match=rf"{name} is there, which cannot be read: write it as \.csv"):
        manifest(folder)


PLACEHOLDERS = (
    "Unknown",
    "unknown publisher",
    "No Brand",
    "Unbranded",
    "N/A",
    "(no genres listed)",
    "-",
    "Various Artists",
)


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_a_word_for_no_value_that_becomes_a_group_is_warned_of(name: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "in", items=brands(name, "Acme"))
    (warning,) = manifest(folder, groups=("provider:brand",))["warnings"]
    assert warning.startswith(f"groups 'provider': '{name}' (6 items) is a group like any other; ")


@pytest.mark.parametrize("name", ["Unknown Worlds", "Other Ocean", "No Starch Press", "Generic Games", "A-1", "NA-KD"])
def test_a_name_that_begins_like_one_is_not(name: str, tmp_path: Path) -> None:
    assert manifest(written(tmp_path / "in", items=brands(name, "Acme")), groups=("provider:brand",))["warnings"] == []


VALUES: dict[str, tuple[dict[str, Any], str]] = {
    "no time": ({"timestamp": PAIRS["timestamp"].where(PAIRS.index % 12 != 0, 0)}, "8 timestamps are 0 or below"),
    "not rated": ({"rating": PAIRS["rating"].where(PAIRS.index % 12 != 0, -1)}, "8 ratings are below 0"),
    "shortened": ({"user_id": "1.2346" + PAIRS["user_id"].str[1:] + "E+11"}, "is a number that a program shortened"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_may_not_be_meant_are_warned_of(case: str, tmp_path: Path) -> None:
    columns, line = VALUES[case]
    (warning,) = manifest(written(tmp_path / "in", PAIRS.assign(**columns)))["warnings"]
    assert line in warning


def test_it_is_told_which_columns_became_what(tmp_path: Path) -> None:
    items = brands("", "Acme", "Bolt").rename(columns={"title": "Title"})
    told = manifest(written(tmp_path / "in", items=items), groups=("provider:brand",))["read"]["as"]
    for line in (
        "interactions.csv: columns user_id, item_id, rating, timestamp",
        "items.csv: column 'Title' is read as title",
        "items.csv: columns item_id, title, brand",
        "12 of 12 items of the interactions have a row in items.csv",
        "ratings from 4 to 5; 4 and above count as liked",
        "timestamps from 2017-07-14 to 2017-07-21",
        "groups 'provider': column 'brand'; 4 of 12 items are in none",
    ):
        assert line in told


def test_a_threshold_above_every_rating_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair is rated 4 or more, 1 is the highest; lower --min-rating"):
        manifest(written(tmp_path / "in", PAIRS.assign(rating=1)))


def test_slashes_between_recurring_values_split_and_those_within_names_do_not(tmp_path: Path) -> None:
    genres = ["Action", "Comedy", "Action / Comedy", "Comedy/Drama", "Drama", "AC/DC"] * 2
    folder = written(tmp_path / "in", items=ITEMS.assign(genres=genres))
    found = manifest(folder, groups=("genre",))["groups"]["genre"]["labels"]
    assert set(found) == {"Action", "Comedy", "Drama", "AC", "DC"}
    folder = written(tmp_path / "in2", items=brands("Home / Kitchen", "AC/DC", "Acme"))
    found = prepare("generic", folder, tmp_path / "out2", PrepareOptions(k_core=1, groups=("provider:brand",)))
    assert set(found["groups"]["provider"]["labels"]) == {"Home / Kitchen", "AC/DC", "Acme"}
