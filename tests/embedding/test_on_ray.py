"""The embedding job on Ray Data, as a user runs it: same bytes as without Ray, and after every kind of kill."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from catalogues import ROOT, catalogue, command, descendants, embed, shard_hashes
from test_job import job
from tiny_models import POISON, tiny_decoder

ITEMS = 240


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_decoder(tmp_path_factory.mktemp("decoder"), layers=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return catalogue(tmp_path_factory.mktemp("data") / "d", ITEMS, group=50)


@pytest.fixture(scope="module")
def whole(decoder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the shards that an undisturbed job without Ray writes."""
    folder = job(data, tmp_path_factory.mktemp("whole") / "out", model=decoder, batch=8, shard_rows=100)
    return shard_hashes(folder)


def arguments(data: Path, output: Path, decoder: Path, **changes: object) -> list[str]:
    settings = {"engine": "sentence-transformers", "batch": 8, "shard_rows": 100, "replicas": 2, **changes}
    named = [f"--{key}={value}" for key, value in settings.items()]
    return ["--dataset", str(data), "--output", str(output), "--model", str(decoder), *named]


def staged(output: Path) -> int:
    """Units with a committed record."""
    folder = output.with_name(output.name + ".partial") / "checkpoint"
    return sum(".pending" not in p.name for p in folder.glob("*.parquet"))


def started(output: Path, words: list[str]) -> subprocess.Popen[str]:
    """The job, begun, with at least one unit staged and not all."""
    process = subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True
    )
    end = time.monotonic() + 240
    while staged(output) < 1 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    return process


def test_two_replicas_give_the_bytes_of_one_process(
    data: Path, decoder: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    done = embed(*arguments(data, tmp_path / "out", decoder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert shard_hashes(tmp_path / "out") == whole and len(whole) == 3
    assert "2 replicas" in done.stdout and "240/240 items" in done.stdout
    assert not (tmp_path / "out.partial").exists()


# The replica's death and the failing item are slow here because test_vllm.py shows both on vLLM.
@pytest.mark.parametrize("victim", ["driver", pytest.param("replica", marks=pytest.mark.slow)])
def test_killed_in_the_middle(victim: str, data: Path, decoder: Path, whole: dict[str, str], tmp_path: Path) -> None:
    """A driver that is killed takes its local Ray with it; the same command goes on. A replica comes back by itself."""
    output = tmp_path / "out"
    words = arguments(data, output, decoder)
    process = started(output, words)
    below = descendants(process.pid)
    if victim == "driver":
        process.kill()
        process.wait()
        for child in below:  # a local Ray notices within seconds; the test does not wait for it
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        before = staged(output)
        assert 1 <= before < ITEMS // 8 and not output.exists()
        done = embed(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "going on in" in done.stdout
    else:
        replicas = [pid for pid, line in below.items() if "MapWorker" in line and "SentenceEngine" in line]
        assert replicas, below
        os.kill(replicas[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0, out
    assert shard_hashes(output) == whole


@pytest.mark.slow
def test_failed_items_on_ray(decoder: Path, tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 24, i5=POISON)
    done = embed(*arguments(data, tmp_path / "out", decoder, retries=1))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 24 items failed, such as 'i00005'")
    assert "again (1 of 1)" in done.stdout
    done = embed(*arguments(data, tmp_path / "out", decoder, retries=0, accept_failures=1))
    assert done.returncode == 0 and "23 of 24 items are done" in done.stdout
    assert (tmp_path / "out" / "failed.parquet").is_file()


def test_more_replicas_than_fit(data: Path, decoder: Path, tmp_path: Path) -> None:
    done = embed(*arguments(data, tmp_path / "out", decoder, gpus=1))
    assert done.returncode == 2
    assert "2 replicas with 1 GPUs each need 2, the cluster has 0" in done.stderr.strip().splitlines()[-1]
