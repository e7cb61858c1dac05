"""The Python API: DataFrames in, a run and DataFrames out; and an import that costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import bifair_dist as bd
from bifair_dist.data.representations import read_rows

QUICK = {
    "training.max_epochs": 1,
    "training.eval_every": 1,
    "training.bilevel_epochs": 1,
    "training.batch_size": 512,
    "model.hidden": 8,
    "model.embedding_dim": 6,
    "model.num_negatives": 32,
    "tracking.enabled": False,
    "training.report": False,
    "balance.group": "genre",
}


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """60 users with 20 of 80 items each, of two genres."""
    rng = np.random.default_rng(0)
    items = pd.DataFrame({"item_id": range(80), "title": [f"Title {n}" for n in range(80)]})
    items["genres"] = np.where(items["item_id"] % 2 == 0, "even", "odd")
    pairs = [(user, item) for user in range(60) for item in rng.choice(80, 20, replace=False)]
    return pd.DataFrame(pairs, columns=["user_id", "item_id"]), items


@pytest.fixture(scope="module")
def dataset(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bd.prepare(tmp_path_factory.mktemp("api") / "data", *tables, k_core=2, groups=["genre:2"])


@pytest.fixture(scope="module")
def run(dataset: Path, tables: tuple[pd.DataFrame, pd.DataFrame]) -> bd.TrainedRun:
    """On vectors that were made elsewhere, handed over in another order than the dataset's."""
    vectors = np.random.default_rng(1).standard_normal((80, 5))
    given = pd.DataFrame({"item_id": tables[1]["item_id"][::-1], "vector": list(vectors)})
    folder = bd.embed(dataset, dataset.parent / "vectors", given)
    return bd.train(dataset, folder, output=dataset.parent / "runs", settings=QUICK)


def test_a_run_from_tables(run: bd.TrainedRun) -> None:
    metrics = run.metrics
    assert list(metrics.columns) == ["before", "after", "change"]
    assert {"accuracy/recall@20", "fairness/genre CV", "exposure/gini"} <= set(metrics.index)
    before, after = metrics.loc["accuracy/recall@20", ["before", "after"]].to_numpy(float)
    assert metrics.loc["accuracy/recall@20", "change"] == pytest.approx(after / before - 1)
    assert set(run.groups.loc["genre"].index) == {"even", "odd"}
    assert run.history["phase"].tolist() == ["base", "bilevel"]
    assert run.settings["balance"]["group"] == "genre"


def test_lists_are_inner_products_of_the_vectors(run: bd.TrainedRun) -> None:
    items, users = run.item_vectors, run.user_vectors
    scores = np.stack(users["vector"].to_list()) @ np.stack(items["vector"].to_list()).T
    first = run.recommend([users["user_id"][7]], k=80, exclude="none")
    assert first["item_id"].tolist() == items["item_id"].to_numpy()[np.argsort(-scores[7], kind="stable")].tolist()
    known = [run.recommend_for([["4", "6"]], 3), run.similar_items("4", 3)]
    assert all(len(table) == 3 and not table["title"].isna().any() for table in known)


def test_a_run_is_loaded_again(run: bd.TrainedRun) -> None:
    again = bd.load_run(run.folder)
    pd.testing.assert_frame_equal(again.recommend(k=5), run.recommend(k=5))
    pd.testing.assert_frame_equal(again.metrics, run.metrics)


def test_new_items(run: bd.TrainedRun, dataset: Path, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Texts of known items, encoded anew, rank like the vectors that were stored; wrong ones are one line."""
    rows = pd.DataFrame({"item_id": ["new"], "title": ["Title 3"]})
    with pytest.raises(bd.UserError, match="give a column `vector`"):  # its vectors were made elsewhere
        run.with_items(rows)
    with pytest.raises(bd.UserError, match="'new' is not 5 wide"):
        run.with_items(rows.assign(vector=pd.Series([[1.0]])))
    assert len(run.with_items(rows.assign(vector=pd.Series([[1.0, 0.0, 0.0, 0.0, 1.0]]))).similar_items("new", 3)) == 3
    plain = bd.train(dataset, method="alpharec", output=dataset.parent / "runs", settings={
        **QUICK, "training.run_name": "minilm", "data.cache": str(dataset.parent / "cache")})  # fmt: skip
    items = tables[1].head(4)
    grown = plain.with_items(items.assign(item_id=[f"new {i}" for i in items["item_id"]]))
    model, z = plain.recommender, read_rows(plain.settings["data"]["representations"], plain.recommender.item_ids)
    rows_ = [model.item_ids.tolist().index(str(i)) for i in items["item_id"]]
    want = model.unseen.items(torch.from_numpy(z[rows_]).to(model.items.dtype))
    torch.testing.assert_close(grown.items[-4:], want, atol=1e-3, rtol=0)
    assert "new 3" in set(grown.recommend(k=84, exclude="none")["item_id"])


def test_another_state_of_a_run(run: bd.TrainedRun) -> None:
    """At 0 it is AlphaRec's own; written once, then read."""
    start = bd.load_run(run.folder, interpolation=0.0)
    assert start.folder == run.folder.with_name(f"{run.folder.name}-at-0")
    at_zero, metrics = start.metrics, run.metrics
    np.testing.assert_allclose(at_zero["after"].to_numpy(), metrics["before"].to_numpy(), atol=1e-12)
    written = (start.folder / "metrics.json").stat().st_mtime_ns
    assert bd.load_run(run.folder, interpolation=0).folder == start.folder
    assert (start.folder / "metrics.json").stat().st_mtime_ns == written
    with pytest.raises(bd.UserError, match="interpolation: 2 is not between 0"):
        bd.load_run(run.folder, interpolation=2)


def test_the_report(run: bd.TrainedRun) -> None:
    page = run.report()
    assert page == run.folder / "report.html" and "genre" in page.read_text()


def test_bad_input_is_one_line(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(bd.UserError, match="is no run folder"):
        bd.load_run(tmp_path)
    with pytest.raises(bd.UserError, match="items: missing"):
        bd.prepare(tmp_path / "x", pd.DataFrame({"user_id": ["a"], "item_id": ["b"]}))
    with pytest.raises(bd.UserError, match="no vector"):
        bd.embed(dataset, tmp_path / "v", pd.DataFrame({"item_id": ["0"], "vector": [[1.0]]}))
    with pytest.raises(bd.UserError, match="eta"):
        bd.train(dataset, settings={"bilevel.etta": 1})


def test_importing_the_package_imports_nothing() -> None:
    code = (
        "import sys, bifair_dist as bd; assert 'train' in dir(bd)\n"
        "heavy = {'torch', 'pandas', 'numpy', 'ray', 'mlflow', 'bifair_dist.api'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "bd.load_run; assert 'bifair_dist.api' in sys.modules and 'ray' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
