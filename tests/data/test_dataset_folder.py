"""The dataset folder: what goes in comes out, twice the same, and damage is noticed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_layouts import GENRES, RATINGS, TITLES, write

from bifair_dist.data.dataset import SPLITS, Dataset, Interactions, read_dataset
from bifair_dist.data.prepare import PrepareOptions, prepare
from bifair_dist.data.writer import write_dataset
from bifair_dist.errors import UserError

GROUPS = ("popularity", "genre:2+rest", "user:gender", "user:activity:quartiles")
OPTIONS = PrepareOptions(min_rating=2, k_core=2, groups=GROUPS)


@pytest.fixture()
def folder(generic: Path, tmp_path: Path) -> Path:
    prepare("generic", generic, tmp_path / "out", OPTIONS)
    return tmp_path / "out"


def pairs_of(dataset: Dataset) -> dict[str, set[tuple[str, str]]]:
    splits = {name: getattr(dataset, name) for name in SPLITS}
    return {n: set(zip(dataset.user_ids[s.user], dataset.item_ids[s.item], strict=True)) for n, s in splits.items()}


def test_round_trip(folder: Path) -> None:
    dataset = read_dataset(folder)
    expected = {(u, i) for u, i, r, _ in RATINGS if r >= 2}
    got = pairs_of(dataset)
    assert got["train"] | got["valid"] | got["test"] == expected and sum(map(len, got.values())) == len(expected)
    assert dataset.item_ids.tolist() == sorted({i for _, i in expected})
    assert dataset.titles.tolist() == [TITLES[i] for i in dataset.item_ids]
    assert (dataset.n_users, dataset.n_items) == (
        dataset.manifest["counts"]["users"],
        dataset.manifest["counts"]["items"],
    )
    for split in (dataset.train, dataset.valid, dataset.test):
        assert split.user.dtype == split.item.dtype == np.int32
    assert set(dataset.train.user) == set(range(dataset.n_users))
    genre = dataset.groups["genre"]
    for label in genre.labels[:2]:
        items = dataset.item_ids[genre.entity_index[genre.group_index == genre.labels.index(label)]]
        assert items.tolist() == [i for i in dataset.item_ids if label in GENRES[i].split("|")]
    assert list(dataset.groups) == ["popularity", "genre", "user_gender", "user_activity"]
    assert dataset.groups["user_gender"].entity == "user"
    assert dataset.manifest["groups"]["genre"]["sizes"] == genre.sizes().tolist()


def test_groups_by_count_use_train_only(folder: Path) -> None:
    dataset = read_dataset(folder)
    for table, part in (("popularity", dataset.train.item), ("user_activity", dataset.train.user)):
        group = dataset.groups[table]
        counts = np.bincount(part, minlength=len(group.entity_index))
        ranked = np.argsort(-counts, kind="stable")
        assert group.group_index[ranked].tolist() == [
            rank * len(group.labels) // len(counts) for rank in range(len(counts))
        ]


def test_files_are_as_the_architecture_says(folder: Path) -> None:
    assert pq.read_schema(folder / "items.parquet").names == ["item_id", "title", "genres", "description"]
    assert pq.read_schema(folder / "users.parquet").names == ["user_id", "gender"]
    assert pq.read_schema(folder / "interactions" / "train.parquet").names == ["user_id", "item_id", "timestamp"]
    assert pq.read_schema(folder / "groups" / "genre.parquet").names == ["entity", "entity_id", "group"]
    rows = [row for split in SPLITS for row in pq.read_table(folder / "interactions" / f"{split}.parquet").to_pylist()]
    stamps = {(u, i): t for u, i, _, t in RATINGS}
    assert all(stamps[row["user_id"], row["item_id"]] == row["timestamp"] for row in rows)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["dropped"]["rating threshold"]["pairs"] == sum(r < 2 for _, _, r, _ in RATINGS)
    assert manifest["options"]["min_rating"] == 2 and manifest["seed"] == 0
    assert [p for p in folder.parent.iterdir() if p.name.startswith(".")] == []  # no partial folder stays


def test_the_order_of_the_input_does_not_matter(generic: Path, tmp_path: Path, folder: Path) -> None:
    head, *rows = (generic / "interactions.csv").read_text().splitlines()
    rows += rows[:5]
    random.Random(1).shuffle(rows)
    write(generic / "interactions.csv", "\n".join([head, *rows]) + "\n")
    again = prepare("generic", generic, tmp_path / "again", OPTIONS)
    assert again["dropped"]["duplicates"] == {"pairs": 5}
    assert again["checksums"] == read_dataset(folder).manifest["checksums"]


def test_another_seed_is_another_split(generic: Path, tmp_path: Path, folder: Path) -> None:
    prepare("generic", generic, tmp_path / "again", PrepareOptions(min_rating=2, k_core=2, seed=1))
    assert pairs_of(read_dataset(tmp_path / "again")) != pairs_of(read_dataset(folder))


@pytest.mark.parametrize("name", ["items.parquet", "interactions/test.parquet", "groups/genre.parquet"])
def test_a_changed_or_missing_file_is_noticed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=f"{name}: checksum differs"):
        read_dataset(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: file is missing"):
        read_dataset(folder)


def test_a_folder_that_is_no_dataset(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="no dataset here"):
        read_dataset(tmp_path / "nothing")
    manifest = json.loads((folder / "manifest.json").read_text())
    write(folder / "manifest.json", json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        read_dataset(folder)
    write(folder / "manifest.json", "{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_dataset(folder)


def test_inconsistent_files_are_refused_even_unverified(folder: Path) -> None:
    path = folder / "interactions" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table]), path)
    with pytest.raises(UserError, match="not sorted by user and item"):
        read_dataset(folder, verify=False)
    pq.write_table(table.set_column(1, "item_id", pa.array(["?"] * len(table))), path)
    with pytest.raises(UserError, match=r"id '\?' is not in the dataset"):
        read_dataset(folder, verify=False)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    items, users = pa.table({"item_id": ["a"], "title": ["A"]}), pa.table({"user_id": ["u"]})
    broken = Interactions(np.zeros(1, np.int64), np.array([7]))  # item 7 does not exist
    with pytest.raises(IndexError):
        write_dataset(
            tmp_path / "out", items=items, users=users, splits=dict.fromkeys(SPLITS, broken), groups=[], manifest={}
        )
    assert list(tmp_path.iterdir()) == []


def test_row_groups_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bifair_dist.data.writer.ROW_GROUP", 7)
    user, item = np.divmod(np.arange(60), 6)
    items = pa.table({"item_id": list("abcdef"), "title": list("ABCDEF")})
    users = pa.table({"user_id": [f"u{u}" for u in range(10)]})
    splits = {n: Interactions(user[p::3].astype(np.int64), item[p::3].astype(np.int64)) for p, n in enumerate(SPLITS)}
    write_dataset(tmp_path / "out", items=items, users=users, splits=splits, groups=[], manifest={})
    dataset = read_dataset(tmp_path / "out")
    for name in SPLITS:
        got = getattr(dataset, name)
        assert (got.user == splits[name].user).all() and (got.item == splits[name].item).all()
