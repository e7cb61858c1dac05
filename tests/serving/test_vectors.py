"""`serving/` of a run folder: a plain index of its vectors returns the model's own lists."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kinds import KINDS
from small_runs import Small, command_line, quick, run

from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.representations import check_representations

ROOT = Path(__file__).resolve().parents[2]
SHARDED = ("bifair", "lightgcn, inner products")
Search = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@pytest.fixture(scope="module", params=[(k, 1) for k in KINDS] + [(k, 2) for k in SHARDED], ids=str)
def done(request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind, workers = request.param
    output = tmp_path_factory.mktemp("runs")
    if workers == 1:
        return run(small, output, KINDS[kind])
    words = command_line(quick(small, output, KINDS[kind] | {"cluster.launcher": "auto", "training.run_name": "two"}))
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "jobs/train.py", *words],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(list((output / "two" / "serving" / "items").glob("part-*.parquet"))) == 2
    return output / "two"


def with_numpy(items: np.ndarray, users: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(users @ items.T), axis=1, kind="stable")[:, :k]


def with_faiss(items: np.ndarray, users: np.ndarray, k: int) -> np.ndarray:
    faiss = pytest.importorskip("faiss", reason="needs the extra faiss")
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    return np.asarray(index.search(users, k)[1])


@pytest.mark.parametrize("search", [with_numpy, with_faiss])
def test_an_inner_product_index_returns_the_lists(search: Search, done: Path, small: Small) -> None:
    """As a reader would do it: read Parquet, search, leave out what the user has."""
    parts = {name: sorted((done / "serving" / name).glob("part-*.parquet")) for name in ("items", "users")}
    items, users = (pd.concat(map(pd.read_parquet, parts[name]), ignore_index=True) for name in ("items", "users"))
    found = search(np.stack(items["vector"].to_list()), np.stack(users["vector"].to_list()), len(items))
    dataset = read_dataset(small.dataset)
    known = known_of(dataset)
    row = {user: number for number, user in enumerate(users["user_id"])}
    want = pd.read_parquet(done / "recommendations.parquet")
    assert want["user_id"].nunique() > 100
    for user, wanted in want.groupby("user_id"):
        ranked = [item for item in items["item_id"].to_numpy()[found[row[user]]] if item not in known[str(user)]]
        gaps = -np.diff(wanted["score"])
        if (gaps > 1e-5).all():  # two that are equal to rounding may change places
            assert ranked[: len(wanted)] == wanted["item_id"].tolist()
        else:
            assert len(set(ranked[: len(wanted)]) & set(wanted["item_id"])) >= len(wanted) - 1


def test_the_folders_are_in_the_dataset_s_order_with_checksums(done: Path, small: Small) -> None:
    dataset = read_dataset(small.dataset)
    for name, ids, key in (("items", dataset.item_ids, "item_id"), ("users", dataset.user_ids, "user_id")):
        manifest = check_representations(done / "serving" / name, ids)
        assert manifest["ordered"] and manifest["key"] == key and manifest["dim"] == 6


def known_of(dataset: Dataset) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {user: set() for user in dataset.user_ids}
    for split in (dataset.train, dataset.valid):
        for user, item in zip(split.user, split.item, strict=True):
            known[dataset.user_ids[user]].add(dataset.item_ids[item])
    return known
