"""A whole study on small data: what is trained, from what, what is printed, and that nothing is trained twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from small_runs import Small, quick

from bifair_dist.errors import UserError
from bifair_dist.evaluation.hypervolume import hypervolume
from bifair_dist.experiments.definition import read_study
from bifair_dist.experiments.settings import StudySettings
from bifair_dist.experiments.study import _Plan, run_study
from bifair_dist.settings import load, override
from bifair_dist.training.identity import identity
from bifair_dist.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]


def study_file(small: Small, folder: Path, **methods: object) -> StudySettings:
    given = ("data.", "training.output", "training.report", "cluster.")
    settings = {k: v for k, v in quick(small, folder / "x", {}).items() if not k.startswith(given)}
    top = {
        "about": "small",
        "datasets": {"shop": {"folder": "dataset", "representations": "representations", "groups": ["genre"]}},
        "settings": settings,
        "reference": "AlphaRec",
        "seeds": [3, 4],
        "keep": 0.5,
        "methods": {"AlphaRec": {"settings": {"training.method": "alpharec"}}, **methods},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(top))
    return StudySettings(
        file=str(folder / "tiny.yaml"), data=str(small.dataset.parent), output=str(folder / "out"), concurrent=2,
        replicates=50,
    )  # fmt: skip


BIFAIR = {"settings": {"balance.rule": "uniform"}, "grid": {"balance.fairness_strength": [0.2, 0.9]}}
WRONG = {"settings": {"training.method": "theta_only", "bilevel.theta_lr": 1e30}}  # its loss is soon not finite


def area_of_states(runs: Path, fair: str, seed: int) -> float:
    """Hypervolume of a run's states on validation against AlphaRec's of the same seed, from the files."""

    def pair(found: dict[str, Any]) -> tuple[float, float]:
        return found["recall@20"], found["groups"]["genre"]["cv"]

    (base,) = runs.glob(f"shop-AlphaRec-s{seed}-*/metrics.json")
    points = json.loads((runs / fair / "front.json").read_text())["points"]
    assert len(points) == 11
    return hypervolume([pair(point["valid"]) for point in points], pair(json.loads(base.read_text())["valid"]))


def test_a_study_from_end_to_end(small: Small, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = study_file(small, tmp_path, BiFair=BIFAIR, Wrong=WRONG)
    with pytest.raises(UserError, match="1 trainings failed"):
        run_study(settings)
    out = capfd.readouterr().out
    assert "Wrong seed 3: FAILED" in out and "not finite" in out

    runs = tmp_path / "out" / "runs"
    finished = {path.parent.name for path in runs.glob("*/metrics.json")}
    # AlphaRec and the chosen BiFair with two seeds, the other BiFair with the first alone.
    assert len(finished) == 5
    for name in finished:
        config = load(TrainSettings(), runs / name / "config.yaml")
        if config.training.method == "bifair":
            start = load(TrainSettings(), Path(config.training.warm_start) / "config.yaml")
            assert start.training.method == "alpharec" and start.training.seed == config.training.seed

    trials = pd.read_parquet(tmp_path / "out" / "tiny" / "trials.parquet")
    assert len(trials) == 5 and set(trials["run"]) == finished
    for row in trials[trials["test_cv"].notna()].itertuples():
        figures = json.loads((runs / str(row.run) / "metrics.json").read_text())["test"]
        assert row.test_recall == figures["recall@20"] and row.test_cv == figures["groups"]["genre"]["cv"]
    assert trials["test_cv"].notna().sum() == 4  # of chosen points alone
    table = (tmp_path / "out" / "tiny" / "tables.md").read_text()
    mean = trials[trials["method"] == "AlphaRec"]["test_recall"].mean()
    assert f"| AlphaRec | - | 2 | {mean:.4f} ± " in table and "| Wrong" not in table
    chosen = trials[(trials["method"] == "BiFair") & trials["test_cv"].notna()]
    areas = [
        area_of_states(runs, str(run), seed)
        for run, seed in zip(chosen["run"], chosen["seed"].astype(int), strict=True)
    ]
    head, own, fair = [[c.strip() for c in line.split("|")] for line in table.splitlines() if line.startswith("| ")]
    column = head.index("hypervolume")
    assert own[column] == "0.0000" and fair[column] == f"{sum(areas) / 2:.4f}"
    page = (tmp_path / "out" / "tiny" / "report.html").read_text()
    assert "<th>hypervolume</th>" in page
    assert "BiFair" in page and "<svg" in page and "../runs/shop-BiFair-s4-" in page
    assert "<th>epochs used</th>" in page and "<td>base 1 of 1</td>" in page
    assert "Warning: AlphaRec: the best epoch of phase base (2 of 2 runs) was its last" in page
    assert "warning: AlphaRec: the best epoch" in table
    for split in ("validation", "test"):
        drawing = ElementTree.parse(tmp_path / "out" / "tiny" / "figures" / f"shop-genre-{split}.svg")
        words = " ".join("".join(text.itertext()) for text in drawing.iter("{http://www.w3.org/2000/svg}text"))
        assert "BiFair" in words and f"{split} recall" in words and "Wrong" not in words

    # The same command trains nothing, and the mended method alone is added.
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/metrics.json")}
    right = {"settings": {"training.method": "theta_only", "balance.rule": "uniform"}}
    run_study(study_file(small, tmp_path, BiFair=BIFAIR, Right=right))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(runs.glob("*/metrics.json"))) == 7
    # A study that may begin nothing more says so, and its tables are those of what is there.
    more = study_file(small, tmp_path, BiFair=BIFAIR, Right={"settings": {**right["settings"], "balance.rule": "erm"}})
    with pytest.raises(UserError, match="time is up"):
        run_study(override(more, {"stop_after": 1e-9}))
    assert "| BiFair |" in (tmp_path / "out" / "tiny" / "tables.md").read_text()
    # Nothing is chosen among some of a method's points.
    wider = {**BIFAIR, "grid": {"balance.fairness_strength": [0.2, 0.9, 0.5]}}
    with pytest.raises(UserError, match="time is up"):
        run_study(override(study_file(small, tmp_path, BiFair=wider), {"stop_after": 1e-9}))
    table = (tmp_path / "out" / "tiny" / "tables.md").read_text()
    assert "| AlphaRec |" in table and "| BiFair |" not in table


def test_a_study_that_is_stopped_tells_what_it_has(small: Small, tmp_path: Path) -> None:
    endless = {"settings": {"training.bilevel_epochs": 10**6, "training.patience": 10**6}}
    settings = study_file(small, tmp_path, Endless=endless)
    words = [f"--{key}={getattr(settings, key)}" for key in ("file", "data", "output", "concurrent", "replicates")]
    command = [sys.executable, str(ROOT / "jobs" / "study.py"), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    runs = tmp_path / "out" / "runs"
    end = time.monotonic() + 400
    while not list(runs.glob("shop-Endless-*/history.jsonl")) or len(list(runs.glob("*/metrics.json"))) < 2:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in out, out
    assert "| AlphaRec | - | 2 |" in out and "| Endless" not in out
    assert out.splitlines()[-1] == "interrupted; the same command goes on with the study"
    (log,) = runs.glob("shop-Endless-*/history.jsonl")
    length = log.stat().st_size
    time.sleep(1)
    assert log.stat().st_size == length  # its training has ended with it


def test_identity_is_of_numbers_not_of_places(small: Small, tmp_path: Path) -> None:
    base = override(TrainSettings(), quick(small, tmp_path / "a", {"training.method": "alpharec"}))
    for name in ("dataset", "representations"):
        shutil.copytree(small.dataset.parent / name, tmp_path / name)
    moved = Small(tmp_path / "dataset", tmp_path / "representations")
    elsewhere = override(base, quick(moved, tmp_path / "b", {"training.method": "alpharec", "cluster.workers": 2}))
    assert identity(elsewhere) == identity(base)
    assert identity(override(base, {"balance.fairness_strength": 0.9})) == identity(base)  # it balances nothing
    others: list[dict[str, object]] = [
        {"training.seed": 1},
        {"training.theta_lr": 0.1},
        {"training.method": "bifair"},
        {"model.temperature": 0.3},
    ]
    names = {identity(override(base, change)) for change in others}
    assert len(names | {identity(base)}) == 5
    manifest = tmp_path / "dataset" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert identity(elsewhere) != identity(base)


def test_all_tables_at_once_is_one_training_that_is_judged_by_each(small: Small, tmp_path: Path) -> None:
    settings = study_file(small, tmp_path, Each=BIFAIR, All={**BIFAIR, "all_tables": True})
    path = Path(settings.file)
    path.write_text(path.read_text().replace("- genre", "- genre\n    - popularity"))
    study = read_study(path)
    plan = _Plan(study, Path(settings.data), tmp_path / "runs")
    data, reference = study.datasets[0], study.method(study.reference)
    base = plan.trial(data, "", reference, reference.points[0], 0, None)
    for name, balanced in (("Each", ["genre", "popularity"]), ("All", ["genre,popularity"] * 2)):
        method = study.method(name)
        trials = [plan.trial(data, group, method, method.points[0], 0, base) for group in data.groups]
        assert [trial.group for trial in trials] == ["genre", "popularity"]
        assert [trial.settings.balance.group for trial in trials] == balanced
        assert len({trial.folder for trial in trials}) == len(set(balanced))


def test_a_wrong_group_or_folder_is_told_before_anything_is_made(small: Small, tmp_path: Path) -> None:
    settings = study_file(small, tmp_path, BiFair=BIFAIR)
    path = Path(settings.file)
    path.write_text(path.read_text().replace("genre", "gerne"))
    with pytest.raises(UserError, match=r"tiny: datasets\.shop\.groups: no table gerne; it has .*genre"):
        run_study(settings)
    with pytest.raises(UserError, match="no dataset here"):
        run_study(override(settings, {"data": str(tmp_path / "nowhere")}))
    with pytest.raises(UserError, match="no study given"):
        run_study(StudySettings())
    assert not (tmp_path / "out").exists()
