"""One driver at a time: who is refused, who takes over, and that the one taken over from writes nothing more."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from cuts import cut_after
from small_runs import Small, run

from bifair_dist.errors import UserError
from bifair_dist.training.lease import FILE, Lease, Owner, check_fence, read_owner

ELSEWHERE = Owner("token", 4, "another-host", "another-boot", 1, "1", 0.0)


def write(folder: Path, owner: Owner) -> None:
    """At once, as a lease does: a reader beside it must never see half a record."""
    part = folder / "record"
    part.write_text(json.dumps(asdict(owner)))
    os.replace(part, folder / FILE)


def hold(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    with Lease(folder):
        ready.set()
        time.sleep(60)


def test_a_second_driver_is_refused_while_the_first_lives_and_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    first = context.Process(target=hold, args=(tmp_path, ready))
    first.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"process {first.pid} on .* trains this run at the moment"), Lease(tmp_path):
        pass
    first.kill()
    first.join()
    with Lease(tmp_path) as second:
        assert second.owner.attempt == 2


def test_a_released_lease_is_free_at_once_and_attempts_count_up(tmp_path: Path) -> None:
    for attempt in (1, 2, 3):
        with Lease(tmp_path) as lease:
            assert lease.owner.attempt == attempt
            check_fence(tmp_path, lease.owner.token)


def test_a_process_number_that_is_used_again_is_not_the_same_driver(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        alive = lease.owner
    write(tmp_path, replace(alive, pid=os.getpid(), started="1", released=False))
    with Lease(tmp_path) as lease:
        assert lease.owner.attempt == 2


def test_a_driver_on_another_machine_is_watched(tmp_path: Path) -> None:
    """Silent: dead. Renewing: alive. No two clocks are compared."""
    write(tmp_path, ELSEWHERE)
    with Lease(tmp_path, watch=0.3) as lease:
        assert lease.owner.attempt == ELSEWHERE.attempt + 1
        with pytest.raises(UserError, match="taken over by process"):
            check_fence(tmp_path, ELSEWHERE.token)
    write(tmp_path, ELSEWHERE)
    threading.Timer(0.5, write, (tmp_path, replace(ELSEWHERE, renewed=1.0))).start()
    with pytest.raises(UserError, match="process 1 on another-host trains this run"), Lease(tmp_path, watch=5):
        pass


def test_a_driver_that_was_taken_over_renews_nothing(tmp_path: Path) -> None:
    with Lease(tmp_path, renew=0.05):
        write(tmp_path, ELSEWHERE)
        time.sleep(0.3)
        assert read_owner(tmp_path) == ELSEWHERE
    assert read_owner(tmp_path) == ELSEWHERE  # nor does it release what is another's


def test_a_fenced_run_writes_nothing_more(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken over in the middle of training: neither checkpoint, nor history, nor results appear any more."""
    from bifair_dist.training.trainer import Trainer

    seen: list[dict[Path, int]] = []
    save = Trainer._save

    def taken_over(self: Trainer, *arguments: object) -> None:
        if not seen:
            write(tmp_path / "run", ELSEWHERE)
            seen.append(state(tmp_path / "run"))
        save(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_save", taken_over)
    with pytest.raises(UserError, match="taken over by process 1 on another-host"), cut_after(None):
        run(small, tmp_path, {"training.run_name": "run", "checkpoint.every": 2})
    assert state(tmp_path / "run") == seen[0]


def test_a_fenced_run_does_not_write_the_lists_from_before(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over while the state before the fair phases is measured."""
    from bifair_dist.training.evaluator import Evaluator

    evaluate = Evaluator.evaluate

    def taken_over(self: Evaluator, *arguments: Any) -> Any:
        if arguments[-1] == "test":
            write(tmp_path / "run", ELSEWHERE)
        return evaluate(self, *arguments)

    monkeypatch.setattr(Evaluator, "evaluate", taken_over)
    with pytest.raises(UserError, match="taken over by process 1 on another-host"):
        run(small, tmp_path, {"training.run_name": "run"})
    assert not (tmp_path / "run" / "recommendations_before.parquet").exists()


def state(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match=r"driver\.json is damaged"), Lease(tmp_path):
        pass
