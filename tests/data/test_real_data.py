"""Real releases through the pipeline, checked against a slow reading of the raw files with the csv module."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from bifair_dist.data.dataset import SPLITS, read_dataset
from bifair_dist.data.prepare import PrepareOptions, prepare


def slow_core(pairs: set[tuple[str, str]], k: int) -> set[tuple[str, str]]:
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        kept = {(u, i) for u, i in pairs if users[u] >= k and items[i] >= k}
        if kept == pairs:
            return kept
        pairs = kept


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_movielens_latest_small(shared_data: Path, tmp_path: Path) -> None:
    options = PrepareOptions(split="temporal", groups=("popularity", "genre:8+rest"))
    prepare("movielens", shared_data / "ml-latest-small", tmp_path / "out", options)
    dataset = read_dataset(tmp_path / "out")
    ratings = rows(shared_data / "ml-latest-small" / "ratings.csv")
    positive = {(r["userId"], r["movieId"]): int(r["timestamp"]) for r in ratings if float(r["rating"]) >= 4}
    expected = slow_core(set(positive), 10)
    got = {n: [(dataset.user_ids[u], dataset.item_ids[i]) for u, i in zip(s.user, s.item, strict=True)]
           for n in SPLITS for s in [getattr(dataset, n)]}  # fmt: skip
    assert sorted(pair for part in got.values() for pair in part) == sorted(expected)
    titles = {r["movieId"]: r["title"] for r in rows(shared_data / "ml-latest-small" / "movies.csv")}
    assert dataset.titles.tolist() == [titles[i] for i in dataset.item_ids]
    first_test: dict[str, int] = {}
    last_train: dict[str, int] = {}
    for user, item in got["test"]:
        first_test[user] = min(first_test.get(user, 1 << 60), positive[user, item])
    for user, item in got["train"]:
        last_train[user] = max(last_train.get(user, 0), positive[user, item])
    assert all(last_train[user] <= first_test[user] for user in first_test)


def test_steam_games_with_a_genre(shared_data: Path, tmp_path: Path) -> None:
    groups = ("popularity", "genre:8+rest", "provider:publisher:10+rest", "user:activity")
    options = PrepareOptions(k_core=5, require=("genres",), groups=groups)
    manifest = prepare("generic", shared_data / "steam", tmp_path / "out", options)
    dataset = read_dataset(tmp_path / "out")
    genres = {r["item_id"]: r["genres"] for r in rows(shared_data / "steam" / "items.csv") if r["genres"]}
    pairs = {(r["user_id"], r["item_id"]) for r in rows(shared_data / "steam" / "interactions.csv")}
    expected = slow_core({(u, i) for u, i in pairs if i in genres}, 5)
    assert manifest["counts"]["pairs"] == len(expected) and "rating threshold" not in manifest["dropped"]
    assert dataset.item_ids.tolist() == sorted({i for _, i in expected})
    table = dataset.groups["genre"]
    for g, label in enumerate(table.labels[:-1]):
        mine = dataset.item_ids[table.entity_index[table.group_index == g]].tolist()
        assert mine == [i for i in dataset.item_ids if label in genres[i].split("|")]
    counts = np.bincount(dataset.train.item, minlength=dataset.n_items)
    mass = np.bincount(table.group_index, weights=counts[table.entity_index])[:-1]
    assert (np.diff(mass) <= 0).all() and table.labels[-1] == "rest"
