"""Lines of others go to a file; our own, and what fails, go where they went before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, os, subprocess, sys
from pathlib import Path
from bifair_dist.workers.raw_lines import raw_lines_to

def raw(line):
    subprocess.run(["sh", "-c", f"echo {line} >&2"])

print("before", file=sys.stderr)
with raw_lines_to(Path(sys.argv[1])):
    raw("core_worker.cc")
    print("warning: ours", file=sys.stderr)
    logging.getLogger("engine").warning("no mirror configured")
    with raw_lines_to(Path("inner.log")):
        os.write(2, b"raylet\\n")
with raw_lines_to(Path("none.log")):
    pass
raw("after")
with raw_lines_to(Path(sys.argv[1])):
    raise ValueError("a fault")
"""


def test_raw_lines_go_to_the_file_and_ours_to_the_terminal(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", PROGRAM, "raw.log"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True)
    assert done.stderr.splitlines()[:3] == ["before", "warning: ours", "after"]
    assert done.stderr.endswith("ValueError: a fault\n") and done.returncode == 1
    assert (tmp_path / "raw.log").read_text() == "core_worker.cc\nno mirror configured\nraylet\n"
    assert [path.name for path in tmp_path.iterdir()] == ["raw.log"]
