"""`python jobs/X.py | head`: a reader that has seen enough ends a job quietly; other broken connections are faults."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUFFERED = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
UNBUFFERED = {**BUFFERED, "PYTHONUNBUFFERED": "1"}
PLAN = ("jobs/embed.py", "plan", "--items", "9", "--tokens_per_item", "4")
OTHER = "from bifair_dist.errors import run_job\ndef main():\n    raise BrokenPipeError('a socket')\nrun_job(main)\n"


def unread(*words: str, environment: dict[str, str] = BUFFERED) -> tuple[int, str]:
    """Run a program whose output nobody reads, from its first byte on: (exit code, stderr)."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, *words], stdout=writer, stderr=subprocess.PIPE, env=environment, cwd=ROOT, text=True,
            timeout=120,
        )  # fmt: skip
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("job", sorted(p.name for p in (ROOT / "jobs").glob("*.py")))
def test_help_that_nobody_reads(job: str) -> None:
    assert unread(f"jobs/{job}", "--help") == (141, "")


@pytest.mark.parametrize("environment", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_output_that_nobody_reads(environment: dict[str, str]) -> None:
    assert unread(*PLAN, environment=environment) == (141, "")


def test_with_head_in_a_shell() -> None:
    line = f"{sys.executable} jobs/embed.py --help | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, env=BUFFERED, cwd=ROOT, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == "Item texts in, item vectors out: one language model over a whole catalogue, sharded over replicas.\n"
    )


def test_another_broken_connection_keeps_its_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", OTHER], capture_output=True, env=BUFFERED, cwd=ROOT, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "BrokenPipeError: a socket" in done.stderr


def test_bad_input_that_nobody_reads_keeps_its_code() -> None:
    code, told = unread("jobs/embed.py", "--no-such-setting", "1")
    assert code == 2 and told.startswith("error: ")
