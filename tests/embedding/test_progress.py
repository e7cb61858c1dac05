"""Progress lines: at most one every few seconds, with rate and remaining time, and one at the end."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bifair_dist.embedding.staging import Staging
from bifair_dist.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
     (3599.7, "1 h 00 min"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_are_spaced_and_tell_rate_and_time_left() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress("work", 1000, "rows", every=5, stream=out, clock=clock) as progress:
        for _ in range(10):
            clock.now += 2
            progress.update(100, note="loss 1.5")
    assert out.getvalue().splitlines() == [
        "work: 300/1,000 rows (30 %), 50 rows/s, 14 s left, loss 1.5",
        "work: 600/1,000 rows (60 %), 50 rows/s, 8.0 s left, loss 1.5",
        "work: 900/1,000 rows (90 %), 50 rows/s, 2.0 s left, loss 1.5",
        "work: 1,000 rows in 20 s (50 rows/s)",
    ]


def test_resumed_work_does_not_count_in_the_rate() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress("work", 1000, "rows", done=800, every=1, stream=out, clock=clock)
    clock.now += 10
    progress.update(100)
    assert out.getvalue() == "work: 900/1,000 rows (90 %), 10 rows/s, 10 s left\n"


def test_what_had_to_start_does_not_count_in_the_rate() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress("work", 1000, "rows", every=1, stream=out, clock=clock)
    clock.now += 500
    progress.begin(100)
    clock.now += 10
    progress.update(100)
    assert out.getvalue().splitlines() == ["work: 200/1,000 rows (20 %), 10 rows/s, 1 min 20 s left"]


def test_the_manifests_rate_is_that_of_the_work_after_the_first_unit(tmp_path: Path) -> None:
    """Three units of 8 items at 70, 72 and 74 s after the start of a process; one of an earlier process before it."""
    staging = Staging(tmp_path)
    staging.staged.mkdir()
    for seconds in (990, 1070, 1072, 1074):
        path = staging.staged / f"{seconds}.parquet"
        pq.write_table(pa.table({"row": range(8)}), path)
        os.utime(path, (seconds, seconds))
    assert staging.rate(since=1000) == (16, 4.0)
    assert staging.rate(since=1073) == (8, 1.0)  # one unit alone: with what came before it
    assert staging.rate(since=1075) == (0, 0.0)


def test_unknown_total_quiet_and_failure() -> None:
    clock, out = Clock(), io.StringIO()
    progress = Progress("work", None, "rows", every=0, stream=out, clock=clock)
    clock.now += 4
    progress.update(2)
    assert out.getvalue() == "work: 2 rows, 0.5 rows/s\n"
    quiet = io.StringIO()
    Progress("work", 1, "rows", quiet=True, stream=quiet).finish()
    with pytest.raises(RuntimeError), Progress("work", 1, "rows", stream=quiet):
        raise RuntimeError
    assert quiet.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_a_line_at_its_end() -> None:
    clock, out = Clock(), Terminal()
    with Progress("work", 1000, "rows", stream=out, clock=clock) as progress:
        for _ in range(10):
            clock.now += 2
            progress.update(100, note="loss 1.5")
    drawn = out.getvalue().split("\r\x1b[K")
    assert len(drawn) == 11 and drawn[0] == ""  # a bar for each step but the last, then the line
    assert drawn[1].startswith("work:  10%|") and "100/1000 [00:02<00:18, 50.00 rows/s, loss 1.5]" in drawn[1]
    assert drawn[-1] == "work: 1,000 rows in 20 s (50 rows/s)\n" and out.getvalue().count("\n") == 1
