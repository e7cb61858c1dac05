"""The generated catalogue: deterministic, quick, and the planted truth is visible in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.sources.generated import GENRES, PLANTED_GENRES
from bifair_dist.errors import UserError

VAGUE = re.compile(r"(Volume|Collected Works|Selected Pieces, Part|Untitled|Notes|Edition) \d+")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("generated") / "dataset"
    generate_dataset(folder)
    return read_dataset(folder)


def genre_sums(dataset: Dataset, values: np.ndarray) -> dict[str, float]:
    """Sum of a value per item over the items of each genre."""
    table = dataset.groups["genre"]
    sums = np.bincount(table.group_index, weights=values[table.entity_index], minlength=len(table.labels))
    return dict(zip(table.labels, sums, strict=True))


def test_shape(dataset: Dataset) -> None:
    counts = dataset.manifest["counts"]
    assert counts["users"] == 2000 and 2500 <= counts["items"] <= 3000 and 60_000 <= counts["pairs"] <= 100_000
    assert list(dataset.groups) == ["popularity", "genre", "provider", "user_activity"]
    assert len(dataset.groups["genre"].labels) == 8 and len(dataset.groups["provider"].labels) == 20
    genre = dataset.groups["genre"]
    assert len(genre.entity_index) > dataset.n_items  # some items have two genres
    provider = dataset.groups["provider"].sizes()
    assert provider.max() > 5 * provider.min()


def test_planted_exposure_is_low_and_titles_are_vague(dataset: Dataset) -> None:
    train = np.bincount(dataset.train.item, minlength=dataset.n_items)
    per_item = genre_sums(dataset, train)
    items = genre_sums(dataset, np.ones(dataset.n_items))
    other = [g for g in GENRES if g not in PLANTED_GENRES]
    assert set(dataset.manifest["planted"]["genres"]) == set(PLANTED_GENRES)
    for genre in PLANTED_GENRES:
        assert per_item[genre] < 0.45 * min(per_item[g] for g in other)
        assert items[genre] > 0.6 * min(items[g] for g in other)  # few interactions, not few items
    vague = np.array([VAGUE.fullmatch(t) is not None for t in dataset.titles], float)
    shares = {genre: n / items[genre] for genre, n in genre_sums(dataset, vague).items()}
    assert all(shares[g] == 1.0 for g in PLANTED_GENRES) and all(shares[g] == 0.0 for g in other)
    assert len(set(dataset.titles)) > 0.7 * dataset.n_items


def test_readers_of_planted_genres_are_as_many_and_as_keen(dataset: Dataset) -> None:
    users = pq.read_table(dataset.folder / "users.parquet")
    favourite = np.array(users["favourite_genre"].to_pylist())
    readers = {g: int((favourite == g).sum()) for g in GENRES}
    assert readers == dataset.manifest["planted"]["readers"] and len(set(readers.values())) == 1
    table = dataset.groups["genre"]
    member = np.zeros((dataset.n_items, 8), bool)
    member[table.entity_index, table.group_index] = True
    lift = {}
    for g, label in enumerate(table.labels):
        mine = favourite[dataset.train.user] == label
        taken = member[dataset.train.item, g]
        lift[label] = taken[mine].mean() / taken[~mine].mean()
    # How much more the readers of a genre take of it than others do: at least as much for the planted ones.
    assert min(lift[g] for g in PLANTED_GENRES) > 0.8 * np.median([lift[g] for g in GENRES])


def test_popularity_is_skewed(dataset: Dataset) -> None:
    train = np.sort(np.bincount(dataset.train.item, minlength=dataset.n_items))[::-1]
    assert train[: dataset.n_items // 10].sum() > 0.35 * train.sum()


def test_deterministic_by_seed(tmp_path: Path) -> None:
    first, second, third = (
        generate_dataset(tmp_path / name, seed, n_items=300, n_users=200)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first == second and first["checksums"] != third["checksums"]
    with pytest.raises(UserError, match="exists already"):
        generate_dataset(tmp_path / "a")
