"""One sweep through the real Ray Tune and trainer: a bad trial, a diverging one, a kill, and what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from small_runs import Small, command_line, make_small, quick

from bifair_dist.experiments.sweep import baseline
from bifair_dist.settings import load, override
from bifair_dist.training.inputs import with_data
from bifair_dist.training.settings import TrainSettings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SPACE = """
from bifair_dist.experiments.space import Choice, Space

# In this order, one at a time: one that diverges at once, a good one, one that ruins accuracy, and one after it, which
# needs what the stopped one had.
RATE = Choice((1e38, 1e-3, 100.0, 5e-4))
SPACE = Space(name="tiny", about="four settings", domains={"bilevel.theta_lr": RATE}, search="grid")
"""


@dataclass(frozen=True, slots=True)
class Swept:
    """A finished sweep, which was killed on the way."""

    folder: Path
    first: str
    last: subprocess.CompletedProcess[str]
    ended_before: dict[str, int]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def swept(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    place = tmp_path_factory.mktemp("tuning")
    (place / "tiny.py").write_text(SPACE)
    changes = {
        "cluster.launcher": "ray", "cluster.workers": 1, "tracking.enabled": True, "training.max_epochs": 2,
        "training.bilevel_epochs": 6, "training.patience": 20,
    }  # fmt: skip
    settings = quick(small, place / "runs", changes)
    del settings["training.output"]
    sweep = {"tune.space": place / "tiny.py", "tune.output": place / "sweeps", "tune.grace": 2, "tune.concurrent": 1}
    command = [sys.executable, "jobs/tune.py", *command_line({**settings, **sweep})]
    folder = place / "sweeps" / "tiny-dataset"
    # The baseline is trained here, which gives the sweep one Ray less to start: it finds it by its settings' hash.
    alone = {**settings, "cluster.launcher": "inline", "tracking.enabled": False}
    baseline(with_data(override(TrainSettings(), alone)), place / "sweeps" / "baselines")
    # Another Ray on the machine: Ray Train's own cleaner must not take it for the sweep's (compat.py).
    with other_ray():
        yield _swept(command, folder)


@contextmanager
def other_ray() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=40)
    try:
        yield
    finally:
        ray.shutdown()


def _swept(command: list[str], folder: Path) -> Swept:
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert running.stdout is not None
    first = ""
    for line in running.stdout:
        first += line
        if "  failed; " in line:
            time.sleep(2)  # Ray Tune writes its state behind the news
            os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = {p.parent.name: p.stat().st_mtime_ns for p in folder.glob("trials/*/failed.json")}
    last = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)
    return Swept(folder, first, last, before)


@pytest.fixture(scope="module")
def trials(swept: Swept) -> pd.DataFrame:
    assert swept.last.returncode == 0, swept.first + swept.last.stdout + swept.last.stderr
    return pd.read_parquet(swept.folder / "trials.parquet").set_index("bilevel.theta_lr").sort_index()


def test_the_killed_sweep_went_on_and_kept_what_was_finished(swept: Swept, trials: pd.DataFrame) -> None:
    assert "going on with the sweep that is there" in swept.last.stdout
    assert "this run is finished already" in swept.first  # the baseline
    assert len(trials) == 4
    for name, written in swept.ended_before.items():
        assert (swept.folder / "trials" / name / "failed.json").stat().st_mtime_ns == written
    assert len(swept.ended_before) == 1


def test_a_diverging_trial_is_recorded_with_its_reason_and_stops_nothing(trials: pd.DataFrame) -> None:
    assert trials["status"][1e38] == "failed"
    assert "the loss is not finite in phase bilevel" in trials["reason"][1e38]
    assert (trials["status"] == "failed").sum() == 1


def test_a_bad_trial_ends_early(trials: pd.DataFrame) -> None:
    assert trials["status"][100.0] == "stopped"
    assert trials["validations"][100.0] < 6
    assert trials["validations"][1e-3] == 6
    assert trials["validations"][5e-4] > 0  # what came after it found room


def test_the_best_setting_is_one_that_train_takes(swept: Swept, trials: pd.DataFrame) -> None:
    settings = load(TrainSettings(), swept.folder / "best.yaml")
    finished = trials[trials["status"] == "finished"]
    assert settings.bilevel.theta_lr == finished["objective"].idxmin()
    assert settings.training.warm_start


def test_the_report_is_one_page_with_everything_in_it(swept: Swept, trials: pd.DataFrame) -> None:
    text = (swept.folder / "report.html").read_text()
    assert all(name in text for name in trials["trial"])
    assert text.count("<svg") == 2 and "<script" not in text
    assert "src=" not in text and 'href="http' not in text
    assert "the loss is not finite" in text
    assert "Dataset: dataset. Group table: genre." in text
    assert "J is the CV of genre as a share of the baseline&#39;s" in text and "<th>J</th>" in text
    assert all(f'<a href="trials/{name}/">' in text for name in trials["trial"])


def test_no_trial_shows_test_figures(swept: Swept, trials: pd.DataFrame) -> None:
    folders = [swept.folder / "trials" / name for name in trials[trials["status"] == "finished"]["trial"]]
    for folder in folders:
        assert '"test"' not in (folder / "metrics.json").read_text()
        assert not (folder / "recommendations.parquet").exists()
    assert "test" not in set(trials.columns)


def test_mlflow_has_a_parent_and_a_child_for_each_trial(swept: Swept, trials: pd.DataFrame) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{swept.folder.parent / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "bifair"]
    runs = client.search_runs([experiment.experiment_id])
    parent = (swept.folder / "mlflow_run_id").read_text().strip()
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(r.info.run_name for r in children) == sorted(trials["trial"])
    ended = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
    status = trials.set_index("trial")["status"]
    assert all(r.info.status == ended[status[r.info.run_name]] for r in children)
    assert {r.info.run_name for r in children if r.data.tags["pareto"] == "front"} == set(
        trials[trials["front"]]["trial"]
    )
    assert all(("choice/J" in r.data.metrics) == (r.info.status != "FAILED") for r in children)
    assert not [name for r in children for name in r.data.metrics if name.startswith(("accuracy/", "fairness/"))]
    (sweep,) = [r for r in runs if r.info.run_id == parent]
    assert sweep.info.run_name == "tiny-dataset: dataset, genre" and sweep.data.tags["group"] == "genre"
    assert sweep.info.status == "FINISHED"
    assert json.loads((swept.folder / "sweep.json").read_text())["tune.grace"] == 2


def test_other_settings_are_refused(swept: Swept, trials: pd.DataFrame, small: Small) -> None:
    command = [sys.executable, "jobs/tune.py", "--tune.space", str(swept.folder.parents[1] / "tiny.py")]
    command += ["--tune.output", str(swept.folder.parent), "--data.dataset", str(small.dataset)]
    command += ["--data.representations", str(small.representations)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "this sweep began with another" in line


def test_ctrl_c_ends_with_130_one_line_and_killed_runs(small: Small, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    (tmp_path / "tiny.py").write_text(SPACE.replace("1e38, 1e-3, 100.0, 5e-4", "1e-3,"))
    changes = {"cluster.launcher": "ray", "cluster.workers": 1, "tracking.enabled": True, "training.patience": 10**6}
    settings = quick(small, tmp_path / "runs", {**changes, "training.bilevel_epochs": 10**6})
    del settings["training.output"]
    sweep = {"tune.space": tmp_path / "tiny.py", "tune.output": tmp_path / "sweeps", "tune.scheduler": "none"}
    command = [sys.executable, "jobs/tune.py", *command_line({**settings, **sweep})]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert running.stdout is not None
    for line in running.stdout:
        if "  validation 1;" in line:
            running.send_signal(signal.SIGINT)
            break
    rest = running.stdout.read()
    assert running.wait(120) == 130 and "Traceback" not in rest, rest
    assert rest.splitlines()[-1] == "interrupted; the same command goes on with the sweep"
    folder = tmp_path / "sweeps" / "tiny-dataset"
    assert not (folder / "best.yaml").exists() and not (folder / "report.html").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'sweeps' / 'mlflow.db'}")
    places = [folder, *(folder / "trials").iterdir()]
    assert [client.get_run((p / "mlflow_run_id").read_text().strip()).info.status for p in places] == ["KILLED"] * 2
