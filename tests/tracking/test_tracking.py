"""One MLflow run per training: parameters once, metrics by step, artifacts, the same run on a restart, its status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bifair_dist.config import TrackingSettings, TrainSettings, flatten
from bifair_dist.errors import UserError
from bifair_dist.tracking import RUN_ID_FILE, Tracker, close_tracker, open_child, open_tracker, tag_run

SETTINGS = TrackingSettings()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all tests: creating the SQLite tables takes seconds."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def folder(output: Path, request: pytest.FixtureRequest) -> Path:
    return output / request.node.name


def client(output: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")


def runs_of(folder: Path) -> list[Any]:
    """All runs of the store that bear the folder's name."""
    store = client(folder.parent)
    experiment = store.get_experiment_by_name("bifair")
    return [r for r in store.search_runs([experiment.experiment_id]) if r.info.run_name == folder.name]


def test_one_run_with_parameters_metrics_and_artifacts(folder: Path) -> None:
    params = flatten(TrainSettings())
    with open_tracker(SETTINGS, folder) as tracker:
        tracker.params(params)
        for step in (1, 2):
            tracker.metrics({"valid/recall@20": 0.1 * step, "loss": 3.0 / step}, step)
        (folder / "config.yaml").write_text("a: 1\n")
        (folder / "more").mkdir()
        (folder / "more" / "x.txt").write_text("x")
        tracker.artifact(folder / "config.yaml")
        tracker.artifact(folder / "more", "more")
        assert runs_of(folder)[0].info.status == "RUNNING"
    (run,) = runs_of(folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == (folder / RUN_ID_FILE).read_text().strip() == tracker.run_id
    assert run.data.params == {key: str(value) for key, value in params.items()}
    assert run.data.metrics == {"valid/recall_at_20": 0.2, "loss": 1.5}
    store = client(folder.parent)
    assert [(m.step, m.value) for m in store.get_metric_history(tracker.run_id, "loss")] == [(1, 3.0), (2, 1.5)]
    assert {a.path for a in store.list_artifacts(tracker.run_id)} == {"config.yaml", "more"}
    kept = folder.parent / "mlflow_artifacts" / tracker.run_id / "artifacts"
    assert (kept / "more" / "x.txt").read_text() == "x"


def test_restart_goes_on_in_the_same_run(folder: Path) -> None:
    with pytest.raises(RuntimeError), open_tracker(SETTINGS, folder) as tracker:
        tracker.params({"a": 1, "b": 2})
        for step in (1, 2, 3):
            tracker.metrics({"loss": float(step)}, step)
        raise RuntimeError
    assert [r.info.status for r in runs_of(folder)] == ["FAILED"]
    with open_tracker(SETTINGS, folder) as again:
        assert runs_of(folder)[0].info.status == "RUNNING"
        again.params({"a": 1, "b": 5, "c": 3})  # b as it was: MLflow refuses a changed value with an exception
        for step in (2, 3, 4):  # from a checkpoint after step 1
            again.metrics({"loss": float(step)}, step)
    assert again.run_id == tracker.run_id
    (run,) = runs_of(folder)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1", "b": "2", "c": "3"}
    history = client(folder.parent).get_metric_history(again.run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(s, float(s)) for s in (1, 2, 3, 4)]


def test_interrupted_is_killed_and_a_lost_run_is_made_anew(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_tracker(SETTINGS, folder) as tracker:
        raise KeyboardInterrupt
    assert [r.info.status for r in runs_of(folder)] == ["KILLED"]
    client(folder.parent).delete_run(tracker.run_id)
    with open_tracker(SETTINGS, folder) as new:
        assert new.run_id != tracker.run_id
    (folder / RUN_ID_FILE).write_text("f" * 32)
    with open_tracker(SETTINGS, folder) as newer:
        assert newer.run_id not in (new.run_id, "f" * 32)


def test_names_mlflow_refuses_stay_apart(folder: Path) -> None:
    with open_tracker(SETTINGS, folder) as tracker:
        tracker.metrics({"genre/Children's": 1.0, "genre/Children&s": 2.0, "Sci-Fi, é": 3.0, "x": float("nan")}, 1)
    assert runs_of(folder)[0].data.metrics == {"genre/Children_s": 1.0, "genre/Children_s_2": 2.0, "Sci-Fi_ _": 3.0}


def test_many_parameters_and_metrics(folder: Path) -> None:
    with open_tracker(SETTINGS, folder) as tracker:
        tracker.params({f"p{n}": n for n in range(250)})
        tracker.metrics({f"m{n}": n for n in range(1100)}, 1)
    (run,) = runs_of(folder)
    assert (len(run.data.params), len(run.data.metrics)) == (250, 1100)


@pytest.mark.parametrize(("settings", "rank"), [(TrackingSettings(enabled=False), 0), (SETTINGS, 1)])
def test_disabled_or_another_rank_does_nothing(
    settings: TrackingSettings, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # not even imported
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with open_tracker(settings, tmp_path / "run", rank) as tracker:
        tracker.params({"a": 1})
        tracker.metrics({"loss": 1.0}, 1)
        tracker.artifact(tmp_path)
    assert tracker.run_id == ""
    assert list(tmp_path.iterdir()) == []


def test_a_uri_of_ones_own(folder: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{folder.parent / 'mlflow.db'}"
    with open_tracker(TrackingSettings(uri=uri, experiment="bifair"), tmp_path / folder.name) as tracker:
        tracker.metrics({"loss": 1.0}, 1)
    assert runs_of(folder)[0].info.run_id == tracker.run_id
    assert not (tmp_path / "mlflow.db").exists()


def test_store_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^tracking\.uri: cannot open nosuch://x: [^\n]*--tracking\.enabled no$"):
        open_tracker(TrackingSettings(uri="nosuch://x"), tmp_path / "run")


def test_store_that_fails_later_costs_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def get_run(self, _: str) -> Any:
            return type("Run", (), {"data": type("Data", (), {"params": {}, "metrics": {}})})

        def log_batch(self, *_: Any, **__: Any) -> None:
            raise ConnectionError("server gone")

    with Tracker(Broken(), "id") as tracker:  # type: ignore[arg-type]
        tracker.metrics({"loss": 1.0}, 1)
        tracker.metrics({"loss": 1.0}, 2)
    assert capsys.readouterr().err == "warning: MLflow stopped: server gone; the job goes on without it\n"


def test_two_at_once_in_a_new_output_folder_without_noise(tmp_path: Path) -> None:
    code = (
        "import sys; from bifair_dist.config import TrackingSettings; from bifair_dist.tracking import open_tracker\n"
        "with open_tracker(TrackingSettings(), sys.argv[1]) as t: t.params({'a': 1}); t.metrics({'x': 1.0}, 1)\n"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / name)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("one", "two")
    ]
    for process in several:
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 0, text
        assert text == ""
    assert len(runs_of(tmp_path / "one")) == len(runs_of(tmp_path / "two")) == 1


def test_a_run_whose_worker_was_killed_is_ended_by_the_driver(folder: Path) -> None:
    """Only while it is RUNNING: the status of a run that ended by itself stays."""
    tracker = open_tracker(SETTINGS, folder)
    del tracker  # killed: it never ends its run
    (run,) = runs_of(folder)
    assert run.info.status == "RUNNING"
    close_tracker(SETTINGS, folder, "FAILED")
    assert runs_of(folder)[0].info.status == "FAILED"
    with open_tracker(SETTINGS, folder):
        pass
    close_tracker(SETTINGS, folder, "FAILED")
    assert runs_of(folder)[0].info.status == "FINISHED"
    close_tracker(SETTINGS, folder.with_name("nobody"), "FAILED")  # nothing there, nothing said


def test_children_stand_below_their_parent_once(folder: Path) -> None:
    parent = open_tracker(SETTINGS, folder).run_id
    store = folder.parent / "mlflow.db"
    settings = TrackingSettings(uri=f"sqlite:///{store}")
    trial = folder / "trial"
    trial.mkdir()
    for _ in range(2):  # the second time after a cut
        open_child(settings, trial, parent, "trial")
        with open_tracker(settings, trial) as tracker:
            tracker.metrics({"loss": 1.0}, 1)
    tag_run(settings, trial, {"pareto": "front"})
    runs = client(folder.parent).search_runs([runs_of(folder)[0].info.experiment_id])
    (child,) = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent]
    assert (child.data.tags["pareto"], child.info.status) == ("front", "FINISHED")
    assert len(client(folder.parent).get_metric_history(child.info.run_id, "loss")) == 1
