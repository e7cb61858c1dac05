"""`ray job submit` against a real Ray of two nodes on loopback: upload, log, exit code, stop, and both nodes used."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
from local_ray import LOOPBACK, RAY, LocalRay, descendants, two_nodes
from small_runs import Small, command_line, history_of, make_small, metrics_of, quick

from bifair_dist.embedding.again import embed_again
from bifair_dist.embedding.settings import VerifySettings
from bifair_dist.embedding.verify import verify
from bifair_dist.settings import load
from bifair_dist.training.settings import TrainSettings

# Long enough that the log can be seen before the end: Ray hands lines on in batches.
TWO = {"cluster.workers": 2, "cluster.cpus_per_worker": 3, "training.max_epochs": 12, "training.patience": 99}
UPLOAD_LIMIT = 100 << 20  # bytes; Ray refuses a larger working folder (ray#38566)


@pytest.fixture(scope="module")
def ray() -> Iterator[LocalRay]:
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("submit"))


def training(small: Small, name: str, **changes: Any) -> list[str]:
    """Entry point of a short run on Ray."""
    settings = quick(small, small.dataset.parent / "runs", {"cluster.launcher": "auto", "training.run_name": name})
    return ["python", "jobs/train.py", *command_line({**settings, **changes})]


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that was followed to its end."""

    exit_code: int
    seen_early: str  # what its log had shown while it ran
    log: str
    folder: Path


def followed(ray: LocalRay, identity: str, entrypoint: list[str], sign: str, result: Path) -> Finished:
    """A job to its end. Early is its log up to the last line with `sign` that came while `result` was not there."""
    command = [*RAY, "job", *ray.submit(identity, *entrypoint)]
    with subprocess.Popen(command, env=dict(ray.environment), cwd=ray.root, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        lines, early = [], ""
        for line in job.stdout:
            lines.append(line)
            if sign in line and not result.exists():
                early = "".join(lines)
    return Finished(job.returncode, early, "".join(lines), result.parent)


@pytest.fixture(scope="module")
def finished(ray: LocalRay, small: Small) -> Finished:
    folder = small.dataset.parent / "runs" / "good"
    return followed(ray, "good", training(small, "good", **TWO), "phase base", folder / "metrics.json")


def test_a_submitted_training_streams_its_log_and_ends_with_0(finished: Finished) -> None:
    assert finished.exit_code == 0, finished.log
    assert "starting 2 Ray Train workers" in finished.seen_early  # while it ran, not in one piece at the end
    assert "genre: CV (lower is fairer)" in finished.log
    assert set(metrics_of(finished.folder)) >= {"valid", "test"}


def test_one_worker_ran_on_each_node(ray: LocalRay, finished: Finished) -> None:
    actors = ray.get("/api/v0/actors?detail=true")["data"]["result"]["result"]
    nodes = [actor["node_id"] for actor in actors if actor["class_name"] == "RayTrainWorker"]
    assert len(nodes) == len(set(nodes)) == 2
    assert "100 rows on each of 2 workers" in finished.log


def test_the_upload_holds_the_program_and_little_else(ray: LocalRay, finished: Finished) -> None:
    uploads = ray.sessions / "session_latest" / "runtime_resources" / "working_dir_files"
    (package, *_) = [folder for folder in uploads.iterdir() if folder.is_dir()]
    files = [path for path in package.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"uploaded: {len(files)} files, {size / 1e6:.1f} MB")
    assert (package / "jobs" / "train.py").is_file()
    assert size < UPLOAD_LIMIT / 10
    kept_out = {".git", ".venv", "runs", "datasets", "representations", "mlruns", "__pycache__", ".mypy_cache"}
    assert not kept_out & {path.name for path in package.iterdir()}
    assert not [path for path in files if path.suffix in (".db", ".parquet", ".safetensors", ".npy")]


def submitted(ray: LocalRay, identity: str, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    """A job that was followed to its end."""
    command = [*RAY, "job", *ray.submit(identity, *entrypoint)]
    return subprocess.run(command, env=dict(ray.environment), cwd=ray.root, capture_output=True, text=True, timeout=400)


def test_evaluate_is_submitted_in_the_same_way(ray: LocalRay, finished: Finished) -> None:
    measured = submitted(ray, "measure", "python", "jobs/evaluate.py", "--run", str(finished.folder))
    assert measured.returncode == 0, measured.stdout
    assert "95 % interval" in measured.stdout


@pytest.mark.slow  # training's submission stands for it in CI
def test_embed_is_submitted_in_the_same_way(ray: LocalRay, small: Small) -> None:
    out = small.dataset.parent / "vectors"
    settings = ["--dataset", str(small.dataset), "--output", str(out), "--engine", "sentence-transformers"]
    embedded = followed(
        ray, "embed", ["python", "jobs/embed.py", *settings], "starting the model", out / "manifest.json"
    )
    assert embedded.exit_code == 0, embedded.log
    assert "engine: sentence-transformers" in embedded.seen_early  # while it ran
    rows = pq.read_metadata(small.dataset / "items.parquet").num_rows
    assert f"embedding items with minilm: {rows}/{rows} items" in embedded.log and "items/s" in embedded.log
    again = VerifySettings(output=str(out), dataset=str(small.dataset), sample=12)
    told = "\n".join(verify(again, embed_again))  # here: the files that the cluster wrote are those that anyone reads
    assert f"{out}: {rows} vectors, 384 columns of float32, in item order" in told
    assert f"ids: exactly the items of {small.dataset}" in told and "embedded again: 12 items" in told


@pytest.mark.parametrize(("job", "setting"), [("train", "data.dataset"), ("embed", "dataset")], ids=["train", "embed"])
def test_bad_input_ends_with_an_error_code_and_one_line(job: str, setting: str, ray: LocalRay, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    engine = ["--output", str(tmp_path / "out"), "--engine", "sentence-transformers"] if job == "embed" else []
    words = [f"--{setting}", str(missing), *engine]
    done = submitted(ray, f"bad-{job}", "python", f"jobs/{job}.py", *words)
    assert done.returncode == 1  # Ray's own: it carries on that the job failed, and tells with which code
    assert f"error: {missing}: no dataset here" in done.stdout
    assert "exit code 2" in done.stdout
    assert "Traceback" not in done.stdout


def test_ctrl_c_ends_the_watching_and_stop_ends_the_run(ray: LocalRay, small: Small) -> None:
    endless = {"training.max_epochs": 10**6, "training.patience": 10**6, "cluster.workers": 1}
    folder = small.dataset.parent / "runs" / "stopped"
    command = [*RAY, "job", *ray.submit("stopped", *training(small, "stopped", **endless))]
    # Where these tests run in the background of a shell, Ctrl-C is ignored, which a child inherits; a handler is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    log = small.dataset.parent / "stopped.log"
    with log.open("w") as out:
        watching = subprocess.Popen(command, env=dict(ray.environment), cwd=ray.root, stdout=out)
    signal.signal(signal.SIGINT, before)
    try:
        begun = folder / "history.jsonl"
        wait(lambda: begun.is_file() and len(history_of(folder)) >= 2, "the run's second epoch", log)
        watching.send_signal(signal.SIGINT)
        try:
            assert watching.wait(45) != 0
        except subprocess.TimeoutExpired:  # it was not listening yet; a person, too, would press it again
            watching.send_signal(signal.SIGINT)
            assert watching.wait(45) != 0
    finally:
        watching.kill()
        watching.wait()
    assert ray.get("/api/jobs/stopped")["status"] == "RUNNING"
    job = next(p for p in descendants(ray.head) if "train.py" in command_of(p) and "stopped" in command_of(p))
    assert ray.client("stop", "--address", ray.address, "stopped") == 0
    assert ray.get("/api/jobs/stopped")["status"] == "STOPPED"
    wait(lambda: not Path(f"/proc/{job}").exists(), "the entry point to end")
    wait(lambda: not living_workers(ray), "the worker to end")
    length = (folder / "history.jsonl").stat().st_size
    assert load(TrainSettings(), folder / "config.yaml").training.run_name == "stopped"
    assert [entry["epoch"] for entry in history_of(folder)][:2] == [1, 2]  # no line cut short
    assert not (folder / "metrics.json").exists()  # nothing claims that it is complete
    time.sleep(1)
    assert (folder / "history.jsonl").stat().st_size == length  # nobody writes any more
    command = [*RAY, "job", *ray.submit("again", *training(small, "stopped", **endless))]
    again = subprocess.Popen(command, env=dict(ray.environment), cwd=ray.root, stdout=subprocess.PIPE, text=True)
    wait(lambda: "going on from checkpoint" in (folder / "train.log").read_text(), "the same command to go on")
    wait(lambda: (folder / "history.jsonl").stat().st_size > length, "the next epoch")
    epochs = [entry["epoch"] for entry in history_of(folder)]
    assert epochs == list(range(1, len(epochs) + 1))  # none twice, none left out
    assert ray.client("stop", "--address", ray.address, "again") == 0
    # What README says: 0, which is Ray's, and the log ends with the training's line, not with a stack.
    said, _ = again.communicate(timeout=180)
    assert again.returncode == 0 and "'again' was stopped" in said and "Traceback" not in said, said
    assert "interrupted; the same command with --training.run_name stopped goes on from the last checkpoint" in said


def living_workers(ray: LocalRay) -> list[str]:
    actors = ray.get("/api/v0/actors?detail=true")["data"]["result"]["result"]
    return [a["actor_id"] for a in actors if a["class_name"] == "RayTrainWorker" and a["state"] != "DEAD"]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def wait(ready: Any, what: str, log: Path | None = None, seconds: float = 240) -> None:
    """Long, for a machine that does much else beside; what `log` then holds is shown."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds} s for {what}: {log.read_text() if log else ''}"
        time.sleep(0.3)


def test_without_the_token_nobody_gets_in(ray: LocalRay) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(ray.address + "/api/jobs/", timeout=30)
    assert refused.value.code == 401
    assert isinstance(ray.get("/api/jobs/"), list)


def test_the_dashboard_listens_on_loopback_only(ray: LocalRay) -> None:
    port = int(ray.address.rpartition(":")[2])
    tables = [Path("/proc/net/tcp").read_text(), Path("/proc/net/tcp6").read_text()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    listening = [row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    loopback = "".join(f"{int(part):02X}" for part in reversed(LOOPBACK.split(".")))
    assert listening == [loopback]
