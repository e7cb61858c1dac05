"""Raw MovieLens files to a finished run on two Ray Train workers, each stage as a person would start it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recompute import items_by_user, recompute
from small_runs import history_of, metrics_of, theta_of, vectors_of

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    dataset: Path
    cache: Path
    folder: Path
    stdout: str
    stderr: str


def job(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A job in a process of its own, as from a shell."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def finished(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    base = tmp_path_factory.mktemp("movielens")
    job(
        "jobs/prepare.py", "--source", "movielens", "--input", shared_data / "ml-latest-small", "--out", base / "ml",
        "--split", "temporal", "--k-core", 10, "--groups", "genre:8+rest", "popularity:quintiles", "user:activity",
    )  # fmt: skip
    done = job(
        "jobs/train.py", "--data.dataset", base / "ml", "--data.cache", base / "cache", "--cluster.workers", 2,
        "--training.max_epochs", 4, "--training.eval_every", 2, "--training.bilevel_epochs", 2,
        "--bilevel.eta", 3e-3,
        "--balance.fairness_strength", 0.3, "--training.output", base / "runs", "--training.run_name", "ml",
    )  # fmt: skip
    return Run(base / "ml", base / "cache", base / "runs" / "ml", done.stdout, done.stderr)


def test_what_a_person_sees(finished: Run) -> None:
    out = finished.stdout
    assert "2 workers" in out and "phase base" in out and "phase bilevel" in out
    assert re.search(r"epoch +2/2 .*recall@20 0\.\d+ .*genre CV .*s/epoch", out)
    table = out[out.index("\ntest ") :]
    for row in (
        r"recall@20",
        r"ndcg@20",
        r"hit_ratio@20",
        r"genre: CV \(lower is fairer\)",
        r"genre: MIN .*",
        r"  Drama",
    ):
        assert re.search(rf"^{row} +0\.\d{{4}} +0\.\d{{4}} +[+-]\d", table, re.M), row
    assert "Q5-tail" in table and "user_activity: CV" in table
    assert str(finished.folder) in table
    assert "Traceback" not in out + finished.stderr and not finished.stderr.strip(), finished.stderr


def test_the_run_folder_is_complete(finished: Run) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    files = {"config.yaml", "metrics.json", "history.jsonl", "recommendations.parquet", "projector.safetensors"}
    assert files | {"item_representations", "train.log", "mlflow_run_id"} <= names
    assert not [n for n in names if n.endswith(".part")]
    records = history_of(finished.folder)
    assert [(r["phase"], r["epoch"]) for r in records] == [("base", 2), ("base", 4), ("bilevel", 2)]
    assert all(np.isfinite(r["loss"]) and r["seconds_per_epoch"] > 0 for r in records)
    assert records[-1]["v_norm"] > 0 and abs(sum(records[-1]["weights"]) - 1) < 1e-12
    start = vectors_of(next((finished.cache).rglob("manifest.json")).parent)
    assert vectors_of(finished.folder / "item_representations").shape == start.shape  # the kept state's
    z = vectors_of(finished.folder / "front_end" / "item_representations")
    assert z.shape == start.shape and z.dtype == np.float32 and 1e-4 < np.abs(z - start).max() < 1
    assert {name: t.shape for name, t in theta_of(finished.folder).items()} == {
        "w1": (256, 384), "b1": (256,), "w2": (64, 256), "b2": (64,),
    }  # fmt: skip


def test_every_number_can_be_recomputed(finished: Run) -> None:
    """From recommendations.parquet and the dataset folder, with code that shares nothing with the trainer."""
    stated = metrics_of(finished.folder)["test"]
    again = recompute(finished.dataset, finished.folder / "recommendations.parquet")
    assert set(again["groups"]) == {"genre", "popularity", "user_activity"} == set(stated["groups"])
    assert again["recall@20"] > 0.02
    compare(again, stated)


def test_recommendations_hold_every_test_user_and_nothing_known(finished: Run) -> None:
    shown = pd.read_parquet(finished.folder / "recommendations.parquet")
    splits = {s: items_by_user(finished.dataset / "interactions" / f"{s}.parquet") for s in ("train", "valid", "test")}
    assert set(shown["user_id"]) == set(splits["test"])
    assert (shown.groupby("user_id").size() == 20).all()
    for user, items in shown.groupby("user_id")["item_id"]:
        assert items.is_unique
        assert not set(items) & (splits["train"].get(user, set()) | splits["valid"].get(user, set()))
    ordered = shown.sort_values(["user_id", "rank"])
    assert (ordered.groupby("user_id")["score"].diff().dropna() <= 0).all()


def test_mlflow_holds_one_finished_run(finished: Run) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder.parent / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert len(runs) == 1
    run = runs[0]
    assert run.info.status == "FINISHED" and run.info.run_name == "ml"
    assert run.info.run_id == (finished.folder / "mlflow_run_id").read_text().strip()
    assert run.data.params["cluster.workers"] == "2" and run.data.params["balance.fairness_strength"] == "0.3"
    points = client.get_metric_history(run.info.run_id, "validation/recall_at_20")
    records = history_of(finished.folder)
    assert [p.step for p in points] == [r["step"] for r in records]
    assert [p.value for p in points] == pytest.approx([r["valid"]["recall@20"] for r in records])
    assert {"weights/Drama", "validation/popularity CV", "fairness/genre CV change"} <= set(run.data.metrics)
    kept = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "metrics.json", "history.jsonl"} <= kept


def compare(again: dict[str, Any], stated: dict[str, Any], where: str = "") -> None:
    """Every number of `again` in `stated`, to 1e-6."""
    for key, value in again.items():
        if isinstance(value, dict):
            compare(value, stated[key], f"{where}/{key}")
        elif value is None:
            assert stated[key] is None, f"{where}/{key}"
        else:
            assert stated[key] == pytest.approx(value, abs=1e-6), f"{where}/{key}: {json.dumps(stated[key])}"
