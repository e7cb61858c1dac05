"""One MLflow run per training: parameters once, metrics by step, artifacts, the same run on a restart, its status."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.errors import UserError
from bifair_dist.settings import flatten
from bifair_dist.tracking import (
    RUN_ID_FILE,
    Tracker,
    close_tracker,
    open_child,
    open_tracker,
    safe_name,
    tag_run,
)
from bifair_dist.tracking import tracker as records
from bifair_dist.tracking_settings import TrackingSettings
from bifair_dist.training.settings import TrainSettings

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


def unescaped(name: str) -> str:
    """The key of a `safe_name` that was not shortened."""
    return re.sub(r"(?::[0-9A-F]{2})+", lambda m: bytes.fromhex(m[0].replace(":", "")).decode(), name)


@given(st.text(alphabet="_at@:/. x%é😀", min_size=1, max_size=12) | st.text(min_size=1, max_size=300))
def test_every_key_gets_a_name_of_its_own_that_mlflow_takes(key: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    name = safe_name(key)
    _validate_metric_name(name)
    assert len(name) <= 250
    if "::" not in name:  # one to one: the key follows from the name
        parts = re.split(r"(_at_)", name)
        assert "".join("@" if part == "_at_" else unescaped(part) for part in parts) == key
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)*", key, re.ASCII) and ".." not in key and "/." not in key and "_at_" not in key:
        assert name == key or key.startswith(".") or len(key) > 250  # ordinary names stay as they are


def test_long_names_stay_apart() -> None:
    one, two = safe_name("x" * 300), safe_name("x" * 299 + "y")
    assert one != two and len(one) == len(two) == 250


def test_names_mlflow_refuses_stay_apart(folder: Path) -> None:
    labels = ["Children's", "Children&s", "Home / Kitchen /", "AC/DC", "Foo//Bar", "..", "/", "日本語", "😀", "N/A"]
    with open_tracker(SETTINGS, folder) as tracker:
        tracker.metrics({f"genre/{label}": float(n) for n, label in enumerate(labels)} | {"x": float("nan")}, 1)
    (run,) = runs_of(folder)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {safe_name(f"genre/{label}"): float(n) for n, label in enumerate(labels)}
    assert "genre/Children:27s" in run.data.metrics and "genre/AC/DC" in run.data.metrics


def test_a_refused_name_costs_only_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(records, "safe_name", lambda key: key)  # as if a server were stricter than ours
    with open_tracker(SETTINGS, folder) as tracker:
        for step in (1, 2):
            tracker.metrics({"a": 1.0, "bad/": 2.0, "b": 3.0}, step)
        tracker.params({"p": 1, "no?": 2})
    (run,) = runs_of(folder)
    assert (run.data.metrics, run.data.params, run.info.status) == ({"a": 1.0, "b": 3.0}, {"p": "1"}, "FINISHED")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == [" MLflow refused 'bad/'", " MLflow refused 'no?'"]


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

        def set_terminated(self, _: str, status: str) -> None:
            ended.append(status)

    ended: list[str] = []
    with Tracker(Broken(), "id") as tracker:  # type: ignore[arg-type]
        tracker.metrics({"loss": 1.0}, 1)
        tracker.metrics({"loss": 1.0}, 2)
    assert ended == ["FINISHED"]  # it may have been a single call that failed: the run must not stay RUNNING
    assert capsys.readouterr().err == "warning: MLflow stopped: server gone; the job goes on without it\n"


def test_two_at_once_in_a_new_output_folder_without_noise(tmp_path: Path) -> None:
    code = (
        "import sys; from bifair_dist.tracking_settings import TrackingSettings\n"
        "from bifair_dist.tracking import open_tracker\n"
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
