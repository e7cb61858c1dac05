from __future__ import annotations

import runpy
import sys

import pytest
from in_process import ROOT, Job

sys.path.insert(0, str(ROOT / "tests" / "training"))  # small_runs

from small_runs import Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Job:
    """Run `jobs/<name>.py` as its main program, in this process: (exit code, stdout, stderr)."""

    def call(name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "jobs" / f"{name}.py"), run_name="__main__")
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return call
