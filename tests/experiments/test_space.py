"""Spaces: what is shipped, what is drawn from them, and whose values win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bifair_dist.bilevel.weights.registry import RULES
from bifair_dist.command_line import parse
from bifair_dist.errors import UserError
from bifair_dist.experiments.draw import at_once, param_space, searcher
from bifair_dist.experiments.ray_tune import DRIVER_CPUS, settings_of
from bifair_dist.experiments.settings import TuneSettings
from bifair_dist.experiments.space import FOLDER, Choice, Range, fixed_under, load_space
from bifair_dist.settings import override, to_yaml
from bifair_dist.training.settings import TrainSettings

SPACES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_builds_and_every_corner_is_a_setting(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert set(param_space(space, space.search)) == {*space.domains, "seed"}
    for config in space.grid():
        settings_of(TrainSettings(), {**space.fixed, **config}, Path("runs"), "x")  # raises out of bounds
    head = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    assert f"python jobs/tune.py --tune.space {name}" in head and "Hardware:" in head and "Minutes:" in head


@pytest.mark.parametrize("name", [n for n in SPACES if n != "smoke"])
def test_a_space_comes_with_reasons(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count("#") >= len(load_space(name).domains)


def test_balance_has_every_rule_that_weighs_groups() -> None:
    domain = load_space("balance").domains["balance.rule"]
    assert isinstance(domain, Choice)
    assert set(domain.values) == {name for name, rule in RULES.items() if not rule.weighs_items} - {"erm"}
    assert "streaming_dro" in domain.values


def space_file(folder: Path, domains: str, fixed: str = "{}") -> str:
    path = folder / "own.py"
    words = f"name='own', about='own', domains={domains}, fixed={fixed}"
    path.write_text(f"from bifair_dist.experiments.space import Choice, Range, Space\nSPACE = Space({words})\n")
    return str(path)


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        ("{'bilevel.eat': Range(0.1, 0.2)}", r"unknown setting bilevel\.eat; did you mean bilevel\.eta"),
        ("{'balance.accuracy_budget': Range(0.1, 0.2)}", "balance.accuracy_budget cannot be searched"),
        ("{'bilevel.eta': Rang(0.1, 0.2)}", "name 'Rang' is not defined"),
    ],
)
def test_a_space_with_a_mistake_is_one_line(tmp_path: Path, domains: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_space(space_file(tmp_path, domains))


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"there are: .*bifair_core"):
        load_space("nowhere")


def test_files_and_command_line_win_over_fixed_values(tmp_path: Path) -> None:
    fixed = "{'training.max_epochs': 20, 'training.bilevel_epochs': 10, 'training.eval_every': 2}"
    place = space_file(tmp_path, "{'bilevel.eta': Range(1e-4, 1e-3)}", fixed)
    (tmp_path / "own.yaml").write_text("training: {bilevel_epochs: 7}\n")
    words = ["--tune.space", place, "--config", str(tmp_path / "own.yaml"), "--training.max_epochs", "8"]
    training = parse(TuneSettings(), words, under=fixed_under).training
    assert (training.max_epochs, training.bilevel_epochs, training.eval_every) == (8, 7, 2)


def test_a_setting_that_is_searched_is_not_given_on_the_command_line_but_may_stand_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bilevel\.eta is what the space bifair_core searches"):
        parse(TuneSettings(), ["--bilevel.eta", "0.1"], under=fixed_under)
    (tmp_path / "best.yaml").write_text(to_yaml(TrainSettings()))
    parse(TuneSettings(), ["--config", str(tmp_path / "best.yaml")], under=fixed_under)


def test_grids() -> None:
    assert Range(1, 100, log=True).grid(3) == (1, 10, 100)
    assert Range(0.0, 1.0).grid(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Range(1, 3).grid(9) == (1, 2, 3)  # whole numbers, each once


@pytest.mark.parametrize("search", ["random", "optuna", "nsga2"])
def test_the_seed_draws_the_same_points_again_and_another_seed_others(search: str) -> None:
    def drawn(seed: int) -> list[Any]:
        made = searcher(search, seed)
        from ray.tune.search.optuna import OptunaSearch

        metric, mode = (made._metric, made._mode)
        found = OptunaSearch(
            OptunaSearch.convert_search_space(param_space(load_space("balance"), search)),
            metric=metric,
            mode=mode,
            sampler=made._sampler,
        )
        return [found.suggest(str(i)) for i in range(4)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_sweep_that_cannot_be_placed_is_refused_at_once() -> None:
    """Ray Tune would wait for ever."""
    with pytest.raises(UserError, match=r"a trial needs 2\.01 CPUs"):
        at_once(TrainSettings(), 0, DRIVER_CPUS, {"CPU": 2.0})
    assert at_once(TrainSettings(), 0, DRIVER_CPUS, {"CPU": 9.0}) == 4
    assert at_once(TrainSettings(), 3, DRIVER_CPUS, {"CPU": 9.0}) == 3
    on_gpus = override(TrainSettings(), {"cluster.gpus_per_worker": 1})
    assert at_once(on_gpus, 0, DRIVER_CPUS, {"CPU": 9.0, "GPU": 4}) == 2


def test_choices_reach_tune_whole() -> None:
    space = load_space("balance")
    domain = space.domains["balance.rule"]
    assert isinstance(domain, Choice)
    assert param_space(space, "random")["balance.rule"].categories == list(domain.values)
