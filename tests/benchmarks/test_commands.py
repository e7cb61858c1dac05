"""The benchmarks of the training step run, on sizes at which their figures mean nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, result: Path, *args: str) -> tuple[int, str]:
    """Exit code and the result file."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *args, "--result", str(result)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.exists(), done.stderr
    return done.returncode, result.read_text(encoding="utf-8")


def test_step_speed(tmp_path: Path) -> None:
    sizes = ("--synthetic", "120", "100", "9000", "8", "--rounds", "1", "--threads", "1")
    code, text = run("step_speed.py", tmp_path / "speed.md", *sizes)
    assert code == 0  # no requirement is on a synthetic shape
    table = [line for line in text.splitlines() if line.startswith(("| reference", "| ours"))]
    assert len(table) == 6
    assert "**1.000** (1.000 to 1.000)" in table[0]
    assert "two perturbed passes" in text


def test_memory(tmp_path: Path) -> None:
    sizes = ("--items", "1500", "--users", "300", "--pairs", "9000", "--width", "32", "--steps", "2")
    code, text = run("memory.py", tmp_path / "memory.md", *sizes)
    assert code == int("MISSED" in text)
    assert "| step with new weights |" in text and "| step |" in text
    # docs/bytes.md at W = 2: a pass and its mirror both move (m_N + m_U) (k - k / 2) numbers; a step has four of each.
    (row,) = [line for line in text.splitlines() if line.startswith("| step |")]
    tags = next(line for line in text.splitlines() if "10^6) sent" in line).split("sent: ")[1].strip(" |").split(" / ")
    sent = dict(zip(tags, row.split("|")[4].strip().split(" / "), strict=True))
    assert float(sent["nodes"]) == round(8 * (750 + 150) * 32 * 4 / 1e6, 1)


def test_plan_memory(tmp_path: Path) -> None:
    """On both kinds of method; what is in memory here is Python, so that the ratios come near 1."""
    shapes = ("--shape", "bifair,1500,300,9000,32,256,1,16", "--shape", "lightgcn,1500,300,9000,0,256,2,16")
    code, text = run("plan_memory.py", tmp_path / "plan.md", *shapes)
    assert code == int("**missed**" in text)
    assert text.count("| bifair | 1,500 |") == 2 and text.count("| lightgcn | 1,500 |") == 4
    assert "the id embeddings" in text.splitlines()[-1]
