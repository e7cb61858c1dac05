"""Drift and neighbours on vectors whose answers are known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import Small

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.representations import write_representations
from bifair_dist.report.drift import Vectors, drifts, nearest, spans
from bifair_dist.report.examples import MOVED, Namer, drift_of

WIDTH = 6


@pytest.fixture(scope="module")
def dataset(small: Small) -> Dataset:
    return read_dataset(small.dataset)


@pytest.fixture(scope="module")
def first(dataset: Dataset) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((dataset.n_items, WIDTH))


def vectors(folder: Path, dataset: Dataset, rows: np.ndarray) -> Vectors:
    write_representations(folder, dataset.item_ids, rows, {"model": "x"}, ordered=True)
    return Vectors(folder, dataset.item_ids)


def rotated(rows: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Each row turned by its angle (in radians) towards something at a right angle to it, and made longer."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    other = np.roll(rows, 1, axis=1)
    other -= (other * unit).sum(1, keepdims=True) * unit
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.asarray(3.0 * (np.cos(angles)[:, None] * unit + np.sin(angles)[:, None] * other))


@pytest.mark.parametrize("block", [1 << 20, 8 * WIDTH * 7])
def test_a_known_rotation(dataset: Dataset, first: np.ndarray, tmp_path: Path, block: int) -> None:
    """1 - cos of the angle, whatever the lengths and the blocks; exactly 0 for what did not turn."""
    angles = np.linspace(0.0, np.pi, dataset.n_items)
    a = vectors(tmp_path / "a", dataset, first)
    b = vectors(tmp_path / "b", dataset, rotated(first, angles))
    looked_at = spans(dataset.n_items, WIDTH, block, 1 << 30)
    items, drift = drifts(a, b, looked_at)
    assert items.tolist() == list(range(dataset.n_items))
    assert drift == pytest.approx(1 - np.cos(angles), abs=1e-12)
    assert drifts(a, a, looked_at)[1].tolist() == [0.0] * dataset.n_items


def test_zero_vectors(dataset: Dataset, first: np.ndarray, tmp_path: Path) -> None:
    was, now = first.copy(), first.copy()
    was[:2] = now[1:3] = 0.0  # one got a direction, one had none and has none, one lost it
    found = drifts(vectors(tmp_path / "a", dataset, was), vectors(tmp_path / "b", dataset, now), [(0, 4)])[1]
    assert found.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_the_items_that_moved_most_come_first(dataset: Dataset, first: np.ndarray, tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(dataset.n_items)
    angles = np.full(dataset.n_items, 0.1)
    angles[order[:MOVED]] = np.linspace(1.5, 0.5, MOVED)
    a = vectors(tmp_path / "a", dataset, first)
    b = vectors(tmp_path / "b", dataset, rotated(first, angles))
    genre = dataset.groups["genre"]
    label = genre.labels[2]
    found = drift_of(a, b, dataset, Namer(dataset, "genre"), [label])
    popularity = np.bincount(dataset.train.item, minlength=dataset.n_items)
    for entry, item in zip(found["moved"], order[:MOVED], strict=True):
        assert (entry["item_id"], entry["title"]) == (dataset.item_ids[item], dataset.titles[item])
        assert entry["drift"] == pytest.approx(1 - np.cos(angles[item]))
        assert entry["train_pairs"] == popularity[item]
        assert entry["groups"] == [genre.labels[g] for g in genre.group_index[genre.entity_index == item]]
    members = genre.entity_index[genre.group_index == 2]
    assert found["groups"]["genre"][label]["mean"] == pytest.approx(float(np.mean(1 - np.cos(angles[members]))))
    assert found["groups"]["genre"][label]["items"] == len(members)
    # Those whose neighbours are shown: the most moved, a middle one, the most popular of the group and of all.
    few = [entry["item_id"] for entry in found["neighbours"]]
    best = members[np.argmax(popularity[members])]
    assert few[0] == dataset.item_ids[order[0]] and len(few) <= 4
    assert dataset.item_ids[best] in few and dataset.item_ids[np.argmax(popularity)] in few


@pytest.mark.parametrize("block", [1 << 20, 8 * WIDTH * 7])
def test_nearest_by_brute_force(dataset: Dataset, first: np.ndarray, tmp_path: Path, block: int) -> None:
    rows = first.copy()
    rows[[5, 90, 150]] = rows[3]  # equal ones go by the item
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = nearest(vectors(tmp_path / "a", dataset, rows), spans(len(rows), WIDTH, block, 1 << 30), [3, 17], 4)
    assert [item for item, _ in found[0][:3]] == [5, 90, 150]
    for query, near in zip((3, 17), found, strict=True):
        cosines = unit @ unit[query]
        cosines[query] = -np.inf
        assert [c for _, c in near] == pytest.approx(np.sort(cosines)[::-1][:4].tolist())


@given(st.integers(1, 10_000), st.integers(1, 64), st.integers(1, 4096), st.integers(1, 65_536))
def test_what_is_looked_at_is_bounded(n_items: int, dim: int, block: int, most: int) -> None:
    found = spans(n_items, dim, block, most)
    rows = max(1, block // (8 * dim))
    assert all(0 <= start < stop <= n_items and stop - start <= rows for start, stop in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    looked = sum(stop - start for start, stop in found)
    assert looked <= max(rows, most // (8 * dim))
    if 8 * dim * (n_items + rows) <= most:
        assert looked == n_items
