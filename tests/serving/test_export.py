"""What `jobs/export.py` writes, read back by the programs it is for, returns the run's lists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from small_runs import Small, run

import bifair_dist as bd
from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.serving.export import export
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.settings import ExportSettings
from bifair_dist.settings import override


@pytest.fixture(scope="module", params=["bifair", "lightgcn"])
def done(request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"training.method": request.param, "training.run_name": request.param}
    return run(small, tmp_path_factory.mktemp("runs"), changes)


def exported(done: Path, kind: str, folder: Path) -> Path:
    return export(override(ExportSettings(), {"run": str(done), "format": kind, "output": str(folder)}))


def best(done: Path, user: int, k: int = 10) -> list[str]:
    model = recommender_of(done)
    return list(model.recommend([str(model.user_ids[user])], k, exclude="none")["item_id"])


def test_arrays(done: Path, tmp_path: Path) -> None:
    exported(done, "npy", tmp_path / "npy")
    exported(done, "safetensors", tmp_path / "st")
    tensors = load_file(tmp_path / "st" / "vectors.safetensors")
    items, users = (np.load(tmp_path / "npy" / f"{name}.npy") for name in ("items", "users"))
    np.testing.assert_array_equal(tensors["items"], items)
    np.testing.assert_array_equal(tensors["users"], users)
    ids = pd.read_parquet(tmp_path / "npy" / "items.parquet")["item_id"].to_numpy()
    assert ids[np.argsort(-(items @ users[4]), kind="stable")[:10]].tolist() == best(done, 4)


def test_faiss(done: Path, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="needs the extra faiss")
    folder = exported(done, "faiss", tmp_path / "index")
    index = faiss.read_index(str(folder / "items.faiss"))
    rows = index.search(np.load(folder / "users.npy")[4:5], 10)[1][0]
    assert pd.read_parquet(folder / "items.parquet")["item_id"].to_numpy()[rows].tolist() == best(done, 4)


def test_lance(done: Path, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance", reason="needs the extra lance")
    folder = exported(done, "lance", tmp_path / "table")
    user = lance.dataset(str(folder / "users.lance")).to_table()["vector"].to_pylist()[4]
    query = {"column": "vector", "q": np.array(user, np.float32), "k": 10, "metric": "dot"}
    found = lance.dataset(str(folder / "items.lance")).to_table(nearest=query)
    assert found["item_id"].to_pylist() == best(done, 4)


def test_the_model_folder_needs_neither_run_nor_dataset(done: Path, small: Small, tmp_path: Path) -> None:
    folder = exported(done, "huggingface", tmp_path / "model")
    before = bd.load_run(done)
    lists, new = before.recommend(k=7), before.recommend_for([list(before.recommender.item_ids[:3])], 5)
    shutil.move(small.dataset, tmp_path / "away")
    try:
        after = bd.load_run(folder)
        pd.testing.assert_frame_equal(after.recommend(k=7), lists)
        pd.testing.assert_frame_equal(after.recommend_for([list(before.recommender.item_ids[:3])], 5), new)
        pd.testing.assert_frame_equal(after.metrics, before.metrics)
    finally:
        shutil.move(tmp_path / "away", small.dataset)


def test_the_card_has_the_run_s_figures_groups_data_and_limits(done: Path, tmp_path: Path) -> None:
    card = (exported(done, "huggingface", tmp_path / "model") / "README.md").read_text()
    metrics = Run(done).metrics
    for value in (metrics.test.recall, metrics.test.groups["genre"].cv):
        assert f"{value:.4f}" in card
    for label in metrics.test.groups["provider"].utility:
        assert f"| provider | {label} |" in card
    for said in ("library_name: bifair-dist", "SHA-256", "items.parquet", "personal data", "training.seed"):
        assert said in card
    assert str(done.parent) not in card


def test_bad_input_is_one_line_and_leaves_nothing(done: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="already exists"):
        exported(done, "npy", tmp_path / "there")
    with pytest.raises(UserError, match="is no run folder"):
        exported(tmp_path, "npy", tmp_path / "x")
    folder = exported(done, "huggingface", tmp_path / "cut")
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be read as an exported model"):
        bd.load_run(folder).recommend(k=3)


@pytest.fixture(scope="module")
def fair(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"training.run_name": "fair", "balance.interpolation": 0.4, "bilevel.eta": 1e-2}
    return run(small, tmp_path_factory.mktemp("fair"), changes)


def at(source: Path, folder: Path, **settings: object) -> Run:
    return Run(export(override(ExportSettings(), {"run": str(source), "output": str(folder), **settings})))


def test_the_kept_point_is_the_run_itself(fair: Path, tmp_path: Path) -> None:
    again = at(fair, tmp_path / "again", interpolation=0.4)
    assert again.metrics == Run(fair).metrics
    manifest = json.loads((again.item_vectors / "manifest.json").read_text())
    assert manifest["run"] == "again"  # not the name that the folder had while it was written
    assert best(again.folder, 4) == best(fair, 4)
    with pytest.raises(UserError, match="already exists"):
        at(fair, again.folder, interpolation=0.4)


def test_another_point_is_what_a_training_that_keeps_it_writes(fair: Path, small: Small, tmp_path: Path) -> None:
    """Also through a folder that was itself written without training."""
    other = at(at(fair, tmp_path / "base", interpolation=0.0).folder, tmp_path / "other", interpolation=0.7)
    changes = {"training.run_name": "trained", "balance.interpolation": 0.7, "bilevel.eta": 1e-2}
    trained = Run(run(small, tmp_path, changes))
    assert other.metrics == trained.metrics != Run(fair).metrics
    assert bd.load_run(other.folder).recommend(k=5).equals(bd.load_run(trained.folder).recommend(k=5))


def test_a_budget_names_the_point_that_a_training_with_it_keeps(fair: Path, small: Small, tmp_path: Path) -> None:
    for budget in (0.0, 0.5):
        changes = {"training.run_name": f"{budget}", "balance.accuracy_budget": budget, "balance.interpolation": "none"}
        changes |= {"bilevel.eta": 1e-2, "balance.adapt": 0, "training.bilevel_epochs": 2}
        trained = run(small, tmp_path / "trained", changes)
        written = at(trained, tmp_path / f"{budget}", accuracy_budget=budget)
        assert written.metrics == Run(trained).metrics
        assert json.loads((written.folder / "front.json").read_text())["accuracy_budget"] == budget


def test_a_damaged_front_is_one_line(fair: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(fair, tmp_path / "spoilt"))
    (spoilt / "front.json").write_text("{")
    with pytest.raises(UserError, match="not what a training wrote"):
        at(spoilt, tmp_path / "x", interpolation=0.5)
    lines = json.loads((fair / "front.json").read_text())
    for line in lines["points"]:
        del line["cautious"]
    (spoilt / "front.json").write_text(json.dumps(lines))
    with pytest.raises(UserError, match="earlier version"):
        at(spoilt, tmp_path / "x", accuracy_budget=0.5)
    assert not (tmp_path / "x").exists()


def test_a_run_without_fair_phase_has_no_other_point(done: Path, tmp_path: Path) -> None:
    if Run(done).metrics.before is None:
        with pytest.raises(UserError, match="no fair phase"):
            at(done, tmp_path / "none", interpolation=0.5)


def test_two_states_or_another_format_at_once_are_refused(fair: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give one of them"):
        at(fair, tmp_path / "x", interpolation=0.5, accuracy_budget=0.1)
    with pytest.raises(UserError, match="written as a run folder"):
        at(fair, tmp_path / "x", interpolation=0.5, format="npy")
    assert not (tmp_path / "x").exists()
