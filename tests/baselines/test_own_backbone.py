"""The backbone of docs/add-a-backbone.md in another package, found by its entry point: trained and ranked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import Small, command_line, history_of, quick, vectors_of
from small_runs import run as trained_here

from bifair_dist.errors import UserError
from bifair_dist.settings import override, setting
from bifair_dist.training.methods.method import Method
from bifair_dist.training.methods.registry import METHODS, register
from bifair_dist.training.settings import TrainSettings
from tests.own_package import ROOT, install


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install("add-a-backbone.md", tmp_path_factory.mktemp("site"))


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)


def trained(environment: dict[str, str], small: Small, output: Path, changes: dict[str, Any]) -> Path:
    changes = {"training.method": "appnp", "training.run_name": "run", "cluster.launcher": "inline", **changes}
    done = run(environment, "jobs/train.py", *command_line(quick(small, output, changes)))
    assert done.returncode == 0, done.stderr
    return output / "run"


def test_training_with_it(environment: dict[str, str], small: Small, tmp_path: Path) -> None:
    """Its phases train, a report is written; what it has no formula for is refused."""
    own = trained(environment, small, tmp_path, {"training.max_epochs": 2, "training.report": True})
    assert [line["phase"] for line in history_of(own)] == ["base", "base", "bilevel"]
    losses = [line["loss"] for line in history_of(own)]
    assert losses[1] < losses[0]
    assert "restart: 0.1" in (own / "config.yaml").read_text() and (own / "report.html").is_file()
    new = f"import bifair_dist as bd; r = bd.load_run({str(own)!r}); r.recommend_for([r.recommender.item_ids[:1]])"
    unseen = run(environment, "-c", new)
    assert "UserError: training.method appnp has no formula for users and items" in unseen.stderr, unseen.stderr


def test_a_restart_of_1_is_no_propagation(environment: dict[str, str], small: Small, tmp_path: Path) -> None:
    common = {"model.dtype": "float64", "training.bilevel_epochs": 0}
    own = trained(environment, small, tmp_path / "own", {"model.restart": 1.0, **common})
    plain = trained_here(small, tmp_path / "plain", {"training.method": "alpharec", "model.num_layers": 0, **common})
    one, other = (vectors_of(folder / "serving" / "items") for folder in (own, plain))
    assert np.abs(one - other).max() < 1e-6 and np.abs(one).max() > 0.1


def test_cached_propagation_is_refused_in_one_line(environment: dict[str, str]) -> None:
    cached = run(environment, "jobs/train.py", "--training.method", "appnp", "--model.propagation", "cached")
    assert cached.returncode == 2 and "cached cannot be used with --training.method appnp" in cached.stderr


def test_it_is_known_like_the_others(environment: dict[str, str]) -> None:
    text = " ".join(run(environment, "jobs/train.py", "--help").stdout.split())
    assert "appnp: BiFair on propagation with restarts" in text and "--model.restart float" in text
    near = run(environment, "jobs/train.py", "--training.method", "apnp")
    assert near.returncode == 2 and "did you mean appnp?" in near.stderr


def test_one_name_has_one_meaning() -> None:
    class Other(Method):
        """Takes a name that the methods on ids have."""

        name = "other"
        about = "nothing"
        source = "nobody"
        l2: int = setting(3, "something else")

    with pytest.raises(ValueError, match=r"ModelSettings\.l2 is there already, as: mf, lightgcn"):
        register(Other)
    assert "other" not in METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_is_from(name: str) -> None:
    method = METHODS[name]
    assert method.name == name and method.source and method.__doc__ and method.about


def test_a_loss_of_another_method_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.loss: bpr needs --training\.method (mf or lightgcn|lightgcn or mf)"):
        override(TrainSettings(), {"model.loss": "bpr"})
