"""What MLflow's page of a training shows: few metrics, the first ones first, the rest as tables, the data it read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))  # small_runs

from small_runs import Small, make_small, run

from bifair_dist.data.dataset import sha256
from bifair_dist.runs import Run
from bifair_dist.tracking import RUN_ID_FILE, open_tracker, tracking_uri
from bifair_dist.tracking_settings import TrackingSettings


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def done(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"tracking.enabled": True, "training.run_name": "one", "balance.group": "genre"}
    return run(small, tmp_path_factory.mktemp("runs"), changes)


@pytest.fixture
def store(done: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(TrackingSettings(), done.parent))


@pytest.fixture
def recorded(done: Path, store: Any) -> Any:
    return store.get_run((done / RUN_ID_FILE).read_text().strip())


def test_at_most_sixty_metrics_with_accuracy_and_fairness_first(recorded: Any, done: Path) -> None:
    names = sorted(recorded.data.metrics)
    assert 20 < len(names) <= 60
    assert [name.partition("/")[0] for name in names[:15]] == ["accuracy"] * 9 + ["fairness"] * 6
    metrics = Run(done).metrics
    assert metrics.before is not None
    before, after = metrics.before.test.groups["genre"].cv, metrics.test.groups["genre"].cv
    assert before and after
    for what, value in (("before", before), ("after", after), ("change", after / before - 1)):
        assert recorded.data.metrics[f"fairness/genre CV {what}"] == pytest.approx(value)


def test_series_by_group_carry_the_group_s_name(recorded: Any, done: Path) -> None:
    labels = Run(done).metrics.test.groups["genre"].utility
    weights = {name.removeprefix("weights/") for name in recorded.data.metrics if name.startswith("weights/")}
    assert weights == set(labels)


def test_everything_else_is_in_tables(recorded: Any, store: Any, tmp_path: Path, done: Path) -> None:
    path = store.download_artifacts(recorded.info.run_id, "groups.json", str(tmp_path))
    table = json.loads(Path(path).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    found = {(row["table"], row["group"]): row["after"] for row in rows}
    for name, figures in Run(done).metrics.test.groups.items():
        for label, value in figures.utility.items():
            assert found[name, label] == (value if value is None else pytest.approx(value))
    assert {"tables", "figures.json"} & {a.path for a in store.list_artifacts(recorded.info.run_id)}


def test_the_data_are_inputs_with_their_checksums(recorded: Any, small: Small) -> None:
    inputs = {i.tags[0].value: i.dataset for i in recorded.inputs.dataset_inputs}
    assert set(inputs) == {"data.dataset", "data.representations"}
    digest = sha256(small.dataset / "manifest.json")
    assert digest.startswith(inputs["data.dataset"].digest) and digest in inputs["data.dataset"].profile


def test_the_machine_s_load_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
    with open_tracker(TrackingSettings(), tmp_path / "run") as tracker:
        time.sleep(4)
    from mlflow.tracking import MlflowClient

    found = MlflowClient(tracking_uri=tracking_uri(TrackingSettings(), tmp_path)).get_run(tracker.run_id)
    names = [name for name in found.data.metrics if name.startswith("system/")]
    assert "system/cpu_utilization_percentage" in names and len(names) < 20
    assert found.info.status == "FINISHED"
