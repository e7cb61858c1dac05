"""A study's file: what is read, and mistakes told in one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bifair_dist.errors import UserError
from bifair_dist.experiments.definition import read_study

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "about": "words",
    "datasets": {"steam": {"groups": ["genre"], "settings": {"model.temperature": 0.2}}},
    "reference": "AlphaRec",
    "seeds": [0, 1],
    "methods": {
        "AlphaRec": {"settings": {"training.method": "alpharec"}},
        "BiFair": {"grid": {"balance.fairness_strength": [0.2, 0.4], "bilevel.eta": ["1e-3", 2e-3]}},
    },
}


def write(folder: Path, changes: dict[str, object]) -> Path:
    path = folder / "one.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_points_are_all_combinations_and_settings_stack_up(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, {"settings": {"model.temperature": 0.5, "training.batch_size": 64}}))
    bifair = study.method("BiFair")
    assert len(bifair.points) == 4
    resolved = study.resolved(study.datasets[0], bifair, bifair.points[3])  # the dataset's wins over the study's
    assert (resolved.model.temperature, resolved.training.batch_size) == (
        0.2,
        64,
    )
    assert (resolved.balance.fairness_strength, resolved.bilevel.eta) == (0.4, 2e-3)
    assert study.method("AlphaRec").points == ({},)


def test_a_training_keeps_its_state_by_what_the_study_chooses_by(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, {"keep": 0.95}))
    bifair = study.method("BiFair")
    assert study.resolved(study.datasets[0], bifair, bifair.points[0]).balance.accuracy_budget == 0.05


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "studies").glob("*.yaml")), ids=lambda p: p.name)
def test_every_study_here_is_fair(path: Path) -> None:
    """Each method has the same number of points: as many trials for one as for another."""
    study = read_study(path)
    counts = {method.name: len(method.points) for method in study.methods}
    if path.name != "smoke.yaml":
        assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": {}}, "dataset: unknown key; did you mean datasets"),
        ({"reference": "Alpharec"}, "reference: no method Alpharec; did you mean AlphaRec"),
        ({"reference": "BiFair"}, "reference: BiFair balances groups"),
        ({"seeds": "0"}, "seeds must be a list"),
        ({"keep": 2}, "keep must be above 0"),
        ({"methods": {}}, "methods is missing"),
        ({"methods": {**GOOD["methods"], "B": {"all_tables": "1"}}}, r"methods\.B\.all_tables must be true or false"),  # type: ignore[dict-item]
        ({"datasets": {"steam": {"group": ["genre"]}}}, r"datasets\.steam\.group: unknown key; did you mean groups"),
        ({"datasets": {"steam": {}}}, r"datasets\.steam\.groups is missing"),
        (
            {"settings": {"model.temperatur": 0.2}},
            "settings: unknown setting model.temperatur; did you mean model.temp",
        ),
        ({"settings": {"training.seed": 1}}, "settings: training.seed is given by the study itself"),
        ({"settings": {"balance.accuracy_budget": 0.1}}, r"accuracy_budget is given by the study itself \(keep"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_study(write(tmp_path, changes))
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_no_list_is_refused(tmp_path: Path) -> None:
    methods = {**GOOD["methods"], "BiFair": {"grid": {"bilevel.eta": 1e-3}}}  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"methods\.BiFair\.grid\.bilevel\.eta must be a list"):
        read_study(write(tmp_path, {"methods": methods}))
