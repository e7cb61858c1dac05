"""What a person can get wrong with jobs/train.py: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_runs import Small, command_line, history_of, quick

from bifair_dist.data.generated import generate_dataset
from bifair_dist.files import sha256

ROOT = Path(__file__).resolve().parents[2]
Job = Callable[..., tuple[int, str, str]]


def the_line(code: int, err: str) -> str:
    """The one line of an error; warnings of torch about its sparse formats are not about the error."""
    assert code == 2 and "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and err.rstrip().endswith(lines[0])
    return lines[0]


def test_help(job: Job) -> None:
    code, out, err = job("train", "--help")
    assert code == 0 and not err
    assert (
        out.startswith("Train BiFair") and "--bilevel.eta float" in out and "Default 0.001: " in " ".join(out.split())
    )
    assert max(map(len, out.splitlines())) <= 125


def test_without_what_only_ray_or_mlflow_need(small: Small, tmp_path: Path) -> None:
    """`--help` and an unknown setting answer without loading torch or Ray."""
    code = (
        "import runpy, sys; sys.argv = ['jobs/train.py', '--bilevel.etta', '1']\n"
        "try: runpy.run_path('jobs/train.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "2 []", done.stdout + done.stderr
    assert the_line(2, done.stderr).endswith("did you mean bilevel.eta?; --help lists all")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "setting": ({"bilevel.etta": 1}, r"unknown setting bilevel.etta; did you mean bilevel.eta?"),
    "value": ({"bilevel.eta": -1}, "bilevel.eta must be greater than 0"),
    "group": ({"balance.group": "gender"}, "has no group table 'gender'; it has: popularity, genre, provider"),
    "dataset": ({"data.dataset": "{tmp}/nowhere"}, "nowhere: no dataset here (manifest.json not found)"),
    "no vectors": ({"data.representations": "{tmp}"}, "no item representations here (manifest.json not found)"),
    "other vectors": ({"data.dataset": "{tmp}/other"}, "made for another dataset: "),
    "columns": ({"cluster.workers": 9}, "9 workers, but each needs a column of the model's space, which has 6"),
    "warm start": ({"training.warm_start": "{tmp}"}, "has no projector.safetensors; give the folder of a finished run"),
    "run name": ({"training.run_name": "a/b"}, "training.run_name: 'a/b' is not a plain folder name"),
    "output": ({"training.output": "{tmp}/file/runs"}, "training.output: {tmp}/file/runs cannot be written to"),
    "cluster": ({"cluster.address": "127.0.0.1:1"}, "cluster.address: no Ray cluster answers at 127.0.0.1:1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(job: Job, small: Small, tmp_path: Path, mistake: str) -> None:
    (tmp_path / "file").touch()
    changes, line = MISTAKES[mistake][0], MISTAKES[mistake][1].replace("{tmp}", str(tmp_path))
    changes = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in changes.items()}
    if mistake == "other vectors":
        generate_dataset(tmp_path / "other", seed=1, n_items=150, n_users=100)
    runs = tmp_path / "runs"
    code, out, err = job("train", *command_line(quick(small, runs, {"cluster.launcher": "ray"} | changes)))
    assert line in the_line(code, err)
    assert "run folder" not in out or mistake == "cluster", "told only after a folder was made, or by a worker"
    assert not runs.exists() or not list(runs.iterdir())


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_dataset_without_pairs_to_measure_on_is_refused(job: Job, small: Small, tmp_path: Path, split: str) -> None:
    dataset = emptied(small.dataset, tmp_path / "dataset", split)
    settings = command_line(quick(small, tmp_path / "runs", {"data.dataset": dataset, "cluster.launcher": "ray"}))
    code, _, err = job("train", *settings)
    assert f"no {split} pairs, and " in the_line(code, err)
    assert not list((tmp_path / "runs").iterdir())


def emptied(dataset: Path, copy: Path, split: str) -> Path:
    """A copy of a dataset without the pairs of one split."""
    shutil.copytree(dataset, copy)
    path = copy / "interactions" / f"{split}.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["checksums"][f"interactions/{split}.parquet"] = sha256(path)
    manifest["counts"][split] = 0
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_the_default_group_falls_back_to_the_first_and_says_so(job: Job, small: Small, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(small.dataset, dataset)
    manifest = json.loads((dataset / "manifest.json").read_text())
    (dataset / "groups" / "genre.parquet").unlink()
    del manifest["checksums"]["groups/genre.parquet"], manifest["groups"]["genre"]
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    code, out, _ = job("train", *command_line(quick(small, tmp_path / "runs", {"data.dataset": dataset})))
    assert code == 0
    assert "has no table 'genre'; taking its first one, 'popularity'" in out
    assert "popularity CV" in out


PLACES = {
    "TMPDIR": ("{tmp}/" + "x" * 90, "is too long for Ray's sockets, whose paths have at most 107 bytes; set TMPDIR"),
    "RAY_ADDRESS": ("http://127.0.0.1:8265", "wants the address of its head, such as 127.0.0.1:6379"),
}


@pytest.mark.parametrize("variable", PLACES)
def test_ray_is_refused_where_it_cannot_start(small: Small, tmp_path: Path, variable: str) -> None:
    value, line = PLACES[variable][0].format(tmp=tmp_path), PLACES[variable][1]
    if variable == "TMPDIR":
        Path(value).mkdir()
    settings = command_line(quick(small, tmp_path / "runs", {"cluster.launcher": "ray"}))
    environment = {**os.environ, variable: value, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "jobs/train.py", *settings], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert line in the_line(done.returncode, done.stderr) and variable in done.stderr
    assert "run folder" not in done.stdout and not list((tmp_path / "runs").iterdir())


def test_a_folder_that_is_no_run_is_not_touched(job: Job, small: Small, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "metrics.json").write_text("precious")
    code, _, err = job("train", *command_line(quick(small, tmp_path / "runs", {"training.run_name": "mine"})))
    assert "exists and is no run (it has no config.yaml); choose another name" in the_line(code, err)
    assert [p.name for p in (tmp_path / "runs" / "mine").iterdir()] == ["metrics.json"]
    assert (tmp_path / "runs" / "mine" / "metrics.json").read_text() == "precious"


DIVERGES = {"bilevel.theta_lr": 1e30, "training.run_name": "diverged", "tracking.enabled": True}
SAYS = "the loss is not finite in phase bilevel, epoch 1, step 2 (step 10 of the run"


def what_stays(folder: Path) -> None:
    """A run that had begun keeps its history, and MLflow says how it ended."""
    from mlflow.tracking import MlflowClient

    assert [record["phase"] for record in history_of(folder)] == ["base"]
    assert (folder / "config.yaml").is_file() and not (folder / "metrics.json").exists()
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    assert client.get_run((folder / "mlflow_run_id").read_text().strip()).info.status == "FAILED"


def test_a_diverged_run_names_the_step(job: Job, small: Small, tmp_path: Path) -> None:
    code, _, err = job("train", *command_line(quick(small, tmp_path / "runs", DIVERGES)))
    assert SAYS in the_line(code, err)
    what_stays(tmp_path / "runs" / "diverged")


def test_a_failure_of_a_ray_worker_reaches_the_person(small: Small, tmp_path: Path) -> None:
    settings = quick(small, tmp_path / "runs", DIVERGES | {"cluster.launcher": "ray", "cluster.workers": 2})
    done = subprocess.run(
        [sys.executable, "jobs/train.py", *command_line(settings)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert SAYS in the_line(done.returncode, done.stderr)
    assert "phase bilevel" in done.stdout and "Traceback" not in done.stdout
    what_stays(tmp_path / "runs" / "diverged")
