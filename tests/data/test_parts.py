"""A table in several files: what the parts say in different ways is refused, what they say alike is one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bifair_dist.data.reading import Columns, Notes, read_table
from bifair_dist.errors import UserError

WANTED = Columns(keys=("user_id", "item_id"), numbers=("timestamp",))


def read(folder: Path, *parts: dict[str, list[Any]]) -> dict[str, list[Any]]:
    table = folder / "interactions.parquet"
    table.mkdir()
    for n, part in enumerate(parts):
        pd.DataFrame({"item_id": [f"i{n}"] * len(part["user_id"]), **part}).to_parquet(table / f"part-{n}.parquet")
    read_back = read_table(table, WANTED, Notes())
    return {name: read_back[name].to_pylist() for name in ("user_id", *part) if name in read_back.column_names}


def test_an_id_in_two_forms_is_refused(tmp_path: Path) -> None:
    """Floats alone are mended to whole numbers; beside `x7` in the same part they are not."""
    with pytest.raises(UserError, match=r"interactions.parquet: user_id is '113' in one part and '113.0' in another"):
        read(tmp_path, {"user_id": [113.0, 114.0]}, {"user_id": ["113.0", "x7"]})


def test_floats_in_one_part_and_integers_in_another_are_the_same_ids(tmp_path: Path) -> None:
    assert read(tmp_path, {"user_id": [113.0, 114.0]}, {"user_id": [113, 115]})["user_id"] == [
        "113",
        "114",
        "113",
        "115",
    ]


def test_ids_that_do_not_meet_stay_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, {"user_id": ["1", "2"]}, {"user_id": ["3.0", "x7"]})["user_id"] == ["1", "2", "3.0", "x7"]


def test_times_in_two_units_are_refused(tmp_path: Path) -> None:
    whole, fraction = "2020-01-01 10:00:00", "2020-01-01 10:00:00.250000"
    with pytest.raises(UserError, match=r"timestamp is about .* write it in one unit"):
        read(
            tmp_path,
            {"user_id": ["a"], "timestamp": [whole]},
            {"user_id": ["b", "c"], "timestamp": [fraction, fraction]},
        )


def test_times_of_one_unit_are_kept(tmp_path: Path) -> None:
    first: dict[str, list[Any]] = {"user_id": ["a"], "timestamp": [978300760]}
    second: dict[str, list[Any]] = {"user_id": ["b"], "timestamp": [1577872800]}
    assert read(tmp_path, first, second)["timestamp"] == [978300760.0, 1577872800.0]
