"""A local Ray whose node is not up in time is started once more; what else goes wrong is one line at once."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from bifair_dist.errors import UserError
from bifair_dist.workers.ray_cluster import connect

SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


def start(monkeypatch: pytest.MonkeyPatch, *failures: str) -> int:
    """Connect where Ray fails so and then starts; how often it was asked to."""
    calls: list[dict[str, Any]] = []

    def init(**arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) <= len(failures):
            raise Exception(failures[len(calls) - 1])  # what Ray raises, no kind of its own

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    try:
        connect("", 2, {})
    finally:
        assert all(call == calls[0] for call in calls)
    return len(calls)


def test_a_slow_start_is_tried_once_more(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(monkeypatch) == 1
    assert capsys.readouterr().out == ""
    assert start(monkeypatch, SLOW) == 2
    assert "trying once more" in capsys.readouterr().out


@pytest.mark.parametrize("failures", [(SLOW, SLOW), ("no space left",)])
def test_then_it_is_one_line(failures: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Ray did not start on this machine") as found:
        start(monkeypatch, *failures, "never asked for")
    assert len(str(found.value).splitlines()) == 1 and failures[-1][:20] in str(found.value)
