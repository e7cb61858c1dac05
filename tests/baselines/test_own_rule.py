"""The rule of docs/add-a-rule.md in another package, found by its entry point: in --help and in every worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import Small, command_line, history_of, quick

from bifair_dist.bilevel.weights.registry import RULES, make_rule, register
from bifair_dist.bilevel.weights.rule import WeightRule
from bifair_dist.settings import setting
from tests.own_package import ROOT, install


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which a package with the page's rule is installed."""
    return install("add-a-rule.md", tmp_path / "site")


def job(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/train.py", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("launcher", ["inline", "ray"])
def test_training_with_it(environment: dict[str, str], small: Small, tmp_path: Path, launcher: str) -> None:
    changes = {"balance.rule": "power", "balance.loss_power": 3, "balance.fairness_strength": 1.0}
    changes |= {"training.method": "theta_only", "training.run_name": "own", "cluster.launcher": launcher}
    done = job(environment, *command_line(quick(small, tmp_path / "runs", changes)))
    assert done.returncode == 0, done.stderr
    weights = history_of(tmp_path / "runs" / "own")[-1]["weights"]
    assert sum(weights) == pytest.approx(1) and max(weights) > 1.01 / len(weights)
    assert "loss_power: 3.0" in (tmp_path / "runs" / "own" / "config.yaml").read_text()


def test_it_is_known_like_the_others(environment: dict[str, str]) -> None:
    text = job(environment, "--help").stdout
    assert "--balance.loss_power float" in text and "streaming_dro,uniform,power}" in "".join(text.split())
    wrong = job(environment, "--balance.loss_power", "0")
    assert wrong.returncode == 2 and "balance.loss_power must be greater than 0, not '0'" in wrong.stderr


def test_one_name_has_one_meaning() -> None:
    class Other(WeightRule):
        """Takes a name that the entropy rule has."""

        name = "other"
        source = "nobody"
        rho: int = setting(3, "something else")

    with pytest.raises(ValueError, match=r"BalanceSettings\.rho is there already, as: entropy: look-ahead"):
        register(Other)
    assert "other" not in RULES


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_where_it_is_from(name: str) -> None:
    rule = make_rule(name)
    assert rule.name == name and rule.source and rule.__doc__
