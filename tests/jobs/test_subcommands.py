"""The subcommands of the jobs, and the flags that they were before."""

from __future__ import annotations

import pytest

from bifair_dist.command_line import subcommand
from bifair_dist.errors import UserError

NAMES = ("run", "plan", "verify", "import", "probe")


def command_of(words: list[str]) -> tuple[str, list[str]]:
    return subcommand(words, NAMES, "jobs/embed.py")


@pytest.mark.parametrize("command", NAMES)
def test_the_first_word_is_the_subcommand(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_of([command, "--output", "plan"]) == (command, ["--output", "plan"])
    assert command_of(["--output", "plan"]) == ("run", ["--output", "plan"])
    assert capsys.readouterr().err == ""


def test_a_flag_of_earlier_versions_is_taken_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_of(["--output", "x", "--verify"]) == ("verify", ["--output", "x"])
    assert capsys.readouterr().err == "note: --verify is now a subcommand: jobs/embed.py verify ...\n"
    assert command_of(["--a", "1", "--plan", "h100", "--b", "2"]) == ("plan", ["h100", "--a", "1", "--b", "2"])
    assert command_of(["--a", "1", "--plan", "--b", "2"]) == ("plan", ["--a", "1", "--b", "2"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plann"], "'plann' is no subcommand; did you mean 'plan'"),
        (["plan", "--verify"], "plan and verify are two subcommands"),
        (["--plan", "--verify"], "plan and verify are two subcommands"),
    ],
)
def test_what_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        command_of(words)
