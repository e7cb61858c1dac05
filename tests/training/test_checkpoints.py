"""Checkpoints on disk: complete or not there, damage found and named, what is kept, any fsspec place, a full disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pytest
import torch
from cuts import Cut, assert_same, cut_after, end_of
from small_runs import Small, command_line, quick, run

from bifair_dist.errors import UserError
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.sharded_tensors import Rows
from bifair_dist.training import checkpoints as module
from bifair_dist.training.checkpoints import MARKER, Checkpoints

ROOT = Path(__file__).resolve().parents[2]
RUN = {"training.max_epochs": 2, "training.run_name": "run", "checkpoint.every": 3}


def flip_a_byte(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)


def shorten(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size // 2)


def edit_marker(shard: Path) -> None:
    marker = shard.with_name(MARKER)
    marker.write_text(marker.read_text().replace('"count": ', '"count": 1'))


def drop_marker(shard: Path) -> None:
    shard.with_name(MARKER).unlink()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An undisturbed run."""
    return end_of(run(small, tmp_path_factory.mktemp("whole"), RUN))


@pytest.mark.parametrize("damage", [flip_a_byte, shorten, Path.unlink, edit_marker, drop_marker])
def test_the_one_before_a_damaged_one_is_used(
    damage: Callable[[Path], None], small: Small, tmp_path: Path, whole: dict[str, Any]
) -> None:
    with pytest.raises(Cut), cut_after(16):
        run(small, tmp_path, RUN)
    folder = tmp_path / "run" / "checkpoints"
    before, last = names(folder)[-2:]
    damage(next((folder / last).glob("*.safetensors")))
    done = run(small, tmp_path, RUN)
    log = (done / "train.log").read_text()
    assert f"going on from checkpoint {before}" in log
    assert (f"checkpoint {last} cannot be used" in log) == (damage is not drop_marker)  # that one just is not there
    assert_same(end_of(done), whole, 0.0)


def test_a_write_that_is_cut_off_leaves_no_checkpoint(small: Small, tmp_path: Path, whole: dict[str, Any]) -> None:
    write, calls = module.save_tensors, 0

    def cut_off(folder: Path, tensors: Any, comm: Comm) -> None:
        nonlocal calls
        calls += 1
        write(folder, tensors, comm)
        if calls == 3:
            shorten(next(folder.glob("*.safetensors")))
            raise Cut

    with pytest.raises(Cut), mock.patch.object(module, "save_tensors", cut_off):
        run(small, tmp_path, RUN)
    (left,) = [f for f in (tmp_path / "run" / "checkpoints").iterdir() if not (f / MARKER).exists()]
    done = run(small, tmp_path, RUN)
    log = (done / "train.log").read_text()
    assert "going on from checkpoint" in log and left.name not in log
    assert_same(end_of(done), whole, 0.0)
    assert not left.exists()


def test_any_fsspec_place(small: Small, tmp_path: Path, whole: dict[str, Any]) -> None:
    settings = RUN | {"checkpoint.folder": "memory://bucket/runs/"}
    with pytest.raises(Cut), cut_after(13):
        run(small, tmp_path, settings)
    assert fsspec.filesystem("memory").ls("/bucket/runs/run")
    done = run(small, tmp_path, settings)
    assert "going on from checkpoint" in (done / "train.log").read_text()
    assert not (done / "checkpoints").exists()
    assert_same(end_of(done), whole, 0.0)


def test_an_unknown_place_is_one_line(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.folder: nowhere://x"):
        run(small, tmp_path, RUN | {"checkpoint.folder": "nowhere://x"})


def test_the_last_few_and_their_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(str(tmp_path), Comm(), keep=2)
    tensor = {"z": Rows(torch.zeros(3, 2), 3)}
    best = [kept.name(0)] * 3 + [kept.name(3)] * 3
    for step, name in enumerate(best):
        kept.save(step, tensor, {}, name)
        there = names(tmp_path)
        assert {kept.name(step), name} <= set(there)
        assert len(there) <= 4
    assert names(tmp_path) == [kept.name(i) for i in (3, 4, 5)]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    """Bit for bit in each number format, infinities and signed zeros too; the padding of a shard is left alone."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        value = torch.tensor([[1 / 3, -0.0], [float("inf"), 5e-39], [7, 9]], dtype=dtype)
        state = {"x": 0.1 + 0.2, "none": None}
        name = Checkpoints(str(tmp_path / str(dtype)), Comm(), keep=1).save(7, {"z": Rows(value, 2)}, state, "")
        again = Checkpoints(str(tmp_path / str(dtype)), Comm(), keep=1)
        saved = again.newest(pytest.fail)
        assert saved is not None and saved.name == name and saved.state == state
        out = torch.full_like(value, 3)
        again.load(name, {"z": Rows(out, 2)})
        assert torch.equal(out[:2], value[:2]) and torch.equal(torch.signbit(out[:2]), torch.signbit(value[:2]))
        assert (out[2] == 3).all()


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    store = Checkpoints(str(tmp_path / "c"), Comm(), keep=1)
    name = store.save(1, {"z": Rows(torch.zeros(2, 2), 2)}, {}, "")
    marker = tmp_path / "c" / name / MARKER
    record = json.loads(marker.read_text())
    (tmp_path / "secret").write_text("x")
    record["files"] = {"../../secret": [1, "0"]}
    record.pop("checksum")
    marker.write_text(json.dumps({**record, "checksum": module._checksum(record)}))
    said: list[str] = []
    assert Checkpoints(str(tmp_path / "c"), Comm(), keep=1).newest(said.append) is None
    assert "leads out of the folder" in said[0]


def test_a_full_disk_stops_with_one_line_and_what_is_there_stays_good(
    small: Small, tmp_path: Path, whole: dict[str, Any]
) -> None:
    """On a file system of 200 kB of its own; the run then goes on where there is room."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (no user namespaces)")
    disk, rescued = tmp_path / "disk", tmp_path / "rescued"
    disk.mkdir()
    rescued.mkdir()
    settings = quick(small, disk, RUN | {"checkpoint.keep": 50, "checkpoint.every": 1})
    train = [sys.executable, str(ROOT / "jobs" / "train.py"), *command_line(settings)]
    script = 'mount -t tmpfs -o size=200k none "$1"; a=$1; b=$2; shift 2; "$@"; code=$?; cp -r "$a"/. "$b"; exit $code'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), str(rescued), *train]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "No space left on device" in line and "the last good one is step-" in line
    assert "Traceback" not in done.stderr
    good = line.partition("the last good one is ")[2].split(";")[0]
    assert (rescued / "run" / "checkpoints" / good / MARKER).exists()
    finished = run(small, rescued, RUN)
    assert f"going on from checkpoint {good}" in (finished / "train.log").read_text()
    assert_same(end_of(finished), whole, 0.0)


def test_a_loss_that_is_not_finite_names_step_batch_and_checkpoint(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        run(small, tmp_path, RUN | {"bilevel.eta": 1e38, "training.max_epochs": 1})
    text = str(error.value)
    assert "phase bilevel, epoch 1, step" in text and "of epoch key 1000000" in text and "seed 0" in text
    good = text.rpartition("/")[2]
    assert (tmp_path / "run" / "checkpoints" / good / MARKER).exists()
