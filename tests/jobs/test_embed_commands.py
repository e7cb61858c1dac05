"""The subcommands of jobs/embed.py, and the flags that they were before."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from bifair_dist.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command_of() -> Any:
    return runpy.run_path(str(ROOT / "jobs" / "embed.py"))["command_of"]


@pytest.mark.parametrize("command", ["run", "plan", "verify", "import", "probe"])
def test_the_first_word_is_the_subcommand(command: str, command_of: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_of([command, "--output", "plan"]) == (command, ["--output", "plan"])
    assert command_of(["--output", "plan"]) == ("run", ["--output", "plan"])
    assert capsys.readouterr().err == ""


def test_a_flag_of_earlier_versions_is_taken_with_a_note(command_of: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_of(["--output", "x", "--verify"]) == ("verify", ["--output", "x"])
    assert capsys.readouterr().err == "note: --verify is now a subcommand: jobs/embed.py verify ...\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plann"], "'plann' is no subcommand; did you mean 'plan'"),
        (["plan", "--verify"], "plan and verify are two subcommands"),
        (["--plan", "--verify"], "plan and verify are two subcommands"),
    ],
)
def test_what_is_refused(words: list[str], said: str, command_of: Any) -> None:
    with pytest.raises(UserError, match=said):
        command_of(words)
