"""A sweep from baseline to page, its points trained in this process; through Ray Tune: test_sweep.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_runs import Small, quick

from bifair_dist.errors import Interrupted
from bifair_dist.experiments import sweep as sweeps
from bifair_dist.experiments.ray_tune import settings_of
from bifair_dist.experiments.selection import Rule
from bifair_dist.experiments.settings import SweepSettings, TuneSettings
from bifair_dist.experiments.space import Space
from bifair_dist.experiments.trial import Trial
from bifair_dist.runs import Run
from bifair_dist.settings import load, override
from bifair_dist.tracking import open_child
from bifair_dist.training.launch import train
from bifair_dist.training.run_folder import open_run_folder
from bifair_dist.training.settings import TrainSettings

POINTS = (("fair", {"bilevel.theta_lr": 5e-3}), ("weak", {"bilevel.theta_lr": 1e-6}))


@contextmanager
def no_ray(*_: object, **__: object) -> Iterator[None]:
    yield


def inline(
    base: TrainSettings, space: Space, sweep: SweepSettings, folder: Path, rule: Rule, parent: str
) -> list[Trial]:
    assert not base.training.test and rule.base is not None
    trials = []
    for name, point in POINTS:
        trial = Trial(settings_of(base, {**point, "seed": 0}, folder / "trials", name), point)
        open_run_folder(trial.settings)
        open_child(trial.settings.tracking, trial.folder, parent, name)
        train(trial.settings, table=False)
        trials.append(trial)
    return trials


@pytest.fixture
def settings(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TuneSettings:
    monkeypatch.setattr(sweeps, "ray_for", no_ray)
    monkeypatch.setattr(sweeps, "search_on_ray", inline)
    space = "SPACE = Space(name='own', about='rates', domains={'bilevel.theta_lr': Range(1e-7, 1e-2, log=True)})"
    (tmp_path / "own.py").write_text(f"from bifair_dist.experiments.space import Range, Space\n{space}\n")
    given: dict[str, Any] = {
        **quick(small, tmp_path / "x", {"tracking.enabled": True, "balance.group": "popularity"}),
        "training.bilevel_epochs": 3,
        "tune.space": str(tmp_path / "own.py"),
        "tune.output": str(tmp_path / "sweeps"),
        "tune.recall_share": 0.9,
        "tune.confirm": (5, 6),
    }
    return override(TuneSettings(), given)


def test_a_sweep_from_baseline_to_page(
    settings: TuneSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.tracking import MlflowClient

    folder = sweeps.sweep(settings)
    out = capsys.readouterr().out
    assert "popularity CV" in out and "2 finished, 0 stopped, 0 failed" in out

    # One rule: what a trial keeps its state by is what the sweep chooses by.
    trials = pd.read_parquet(folder / "trials.parquet").set_index("trial")
    for name in trials.index:
        run = Run(folder / "trials" / name)
        assert load(TrainSettings(), run.config_file).balance.accuracy_budget == 0.1
        assert trials["cv"][name] == run.metrics.valid.groups["popularity"].cv
        assert run.metrics.tested is None and not run.recommendations.exists()
    (baseline,) = (folder.parent / "baselines").iterdir()
    assert Run(baseline).metrics.tested is None and "popularity CV" in Run(baseline).log_file.read_text()
    best = load(TrainSettings(), folder / "best.yaml")
    assert best.bilevel.theta_lr == dict(POINTS)[str(trials["objective"].idxmin())]["bilevel.theta_lr"]
    assert best.training.test and best.balance.accuracy_budget == 0.1

    page = (folder / "report.html").read_text()
    assert "Dataset: dataset. Group table: popularity." in page and "<h2>Test, once for each of 2 seeds</h2>" in page
    assert "J is the CV of popularity as a share of the baseline&#39;s" in page and "keep 90 % of" in page
    assert all(f'<a href="trials/{name}/">{name}</a>' in page for name in trials.index)
    assert '<a href="confirm/best-5/">5</a>' in page and "epochs used" in page and "<script" not in page
    assert "Warning: AlphaRec baseline: the best epoch of phase base (1 of 1 runs) was its last" in page

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "bifair"]
    runs = client.search_runs([experiment.experiment_id], order_by=["metrics.`choice/J`"])
    parent = client.get_run((folder / "mlflow_run_id").read_text().strip())
    assert parent.info.run_name == "own-dataset: dataset, popularity" and parent.data.tags["group"] == "popularity"
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert [r.info.run_name for r in children] == list(trials.sort_values("objective").index)
    assert [r.data.tags["chosen"] for r in children] == ["true", "false"]
    assert not [key for r in children for key in r.data.metrics if key.startswith(("accuracy/", "fairness/"))]

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/metrics.json")}
    sweeps.sweep(settings)  # trains nothing
    assert len(before) == 6 and {path: path.stat().st_mtime_ns for path in before} == before


def test_ctrl_c_says_how_to_go_on_and_ends_runs_as_killed(
    settings: TuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    def cut_off(base: TrainSettings, space: Space, sweep: SweepSettings, folder: Path, *more: Any) -> list[Trial]:
        (folder / "trials" / "one").mkdir(parents=True)
        open_child(base.tracking, folder / "trials" / "one", more[1], "one")
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "search_on_ray", cut_off)
    with pytest.raises(Interrupted, match="the same command goes on with the sweep"):
        sweeps.sweep(settings)
    folder = tmp_path / "sweeps" / "own-dataset"
    assert not (folder / "best.yaml").exists()
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    ids = [(place / "mlflow_run_id").read_text().strip() for place in (folder, folder / "trials" / "one")]
    assert [client.get_run(i).info.status for i in ids] == ["KILLED", "KILLED"]
