"""Settings: types, bounds, unknown keys, sources; each mistake is one line that names key, source and remedy."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from pydantic import PositiveFloat, ValidationError

import bifair_dist.settings
from bifair_dist.command_line import parse
from bifair_dist.errors import UserError
from bifair_dist.settings import Settings, flatten, known_settings, load, override, section, setting, to_yaml
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.training_settings import TrainingSettings


class Inner(Settings):
    """Inner things."""

    rate: float = setting(0.5, "a rate", unit="per step", why="half", gt=0, le=1)
    count: int = setting(3, "a count", unit="things", ge=1)
    mode: Literal["slow", "fast"] = setting("slow", "a mode")
    switch: bool = setting(True, "a switch")
    name: str = setting("", "a name")
    limit: int | None = setting(None, "a limit")
    grid: tuple[PositiveFloat, ...] = setting((1.0, 2.0), "a grid")


class Outer(Settings):
    """Outer things."""

    inner: Inner = section(Inner)
    deep: Inner = section(Inner)


ROOT = Path(__file__).parents[1]


def one(key: str, value: Any) -> Any:
    return getattr(override(Outer(), {f"inner.{key}": value}, "file.yaml").inner, key)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rate", "1e-3", 1e-3),
        ("rate", 1, 1.0),
        ("count", "1e3", 1000),
        ("count", 7.0, 7),
        ("count", "12", 12),
        ("switch", "no", False),
        ("switch", "True", True),
        ("switch", False, False),
        ("mode", "fast", "fast"),
        ("name", 2024, "2024"),
        ("name", "", ""),
        ("limit", "none", None),
        ("limit", "4", 4),
        ("grid", "1e-3,2", (1e-3, 2.0)),
        ("grid", [1, "2e-1"], (1.0, 0.2)),
        ("grid", 4, (4.0,)),
    ],
)
def test_values_become_their_type(key: str, value: Any, expected: Any) -> None:
    found = one(key, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("rate", "fast", "a valid number"),
        ("rate", "nan", "a finite number"),
        ("rate", math.inf, "a finite number"),
        ("rate", True, "a valid number"),
        ("rate", [1], "a valid number"),
        ("rate", 0, "greater than 0"),
        ("rate", 1.5, "less than or equal to 1"),
        ("count", "2.5", "a valid integer"),
        ("count", True, "a valid integer"),
        ("count", 0, "greater than or equal to 1"),
        ("switch", "maybe", "a valid boolean"),
        ("switch", 1, "a valid boolean"),
        ("name", False, "a valid string"),
        ("mode", "fst", "'slow' or 'fast', not 'fst'; did you mean fast?"),
        ("grid", "1,-2", "greater than 0"),
        ("grid", "1,x", "a valid number"),
    ],
)
def test_wrong_value_is_one_line_naming_key_source_and_value(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(UserError) as error:
        one(key, value)
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith("file.yaml: ")
    assert f"inner.{key} " in line
    assert wanted in line


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("bilevel.etta", "bilevel.eta"),
        ("bilevl.eta", "bilevel.eta"),
        ("eta", "bilevel.eta"),
        ("theta_lr", "bilevel.theta_lr or training.theta_lr"),
        ("fairnes_strength", "balance.fairness_strength"),
        ("model.layer", "model.num_layers"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(UserError) as error:
        override(TrainSettings(), {key: 1}, "my.yaml")
    assert str(error.value) == f"my.yaml: unknown setting {key}; did you mean {hint}?; --help lists all"


def test_key_like_no_other_has_no_hint() -> None:
    with pytest.raises(UserError, match=r"^x: unknown setting zzzzzzzz; --help lists all$"):
        override(TrainSettings(), {"zzzzzzzz": 1}, "x")


def test_section_given_a_value() -> None:
    with pytest.raises(UserError, match="bilevel is a section"):
        override(TrainSettings(), {"bilevel": 3}, "my.yaml")
    assert override(TrainSettings(), {"bilevel": None}, "my.yaml") == TrainSettings()


def test_nested_and_dotted_keys_are_the_same() -> None:
    nested = override(TrainSettings(), {"bilevel": {"eta": 0.5}, "model": {"temperature": 0.2}})
    assert nested == override(TrainSettings(), {"bilevel.eta": 0.5, "model.temperature": 0.2})
    assert nested.bilevel.eta == 0.5
    assert nested.bilevel.xi == TrainSettings().bilevel.xi


def test_built_in_code_is_checked_too() -> None:
    assert Inner(rate=1).rate == 1.0
    assert isinstance(Inner(rate=1).rate, float)
    with pytest.raises(ValidationError, match="greater than 0"):
        Inner(rate=0)
    with pytest.raises(ValidationError, match="'slow' or 'fast'"):
        Inner(mode="other")  # type: ignore[arg-type]


def test_metric_must_fit_k() -> None:
    assert TrainingSettings(k=10, metric="ndcg@10").k == 10
    with pytest.raises(UserError, match=r"training\.metric must be recall@10"):
        TrainingSettings(k=10)


def test_frozen_and_picklable() -> None:
    settings = override(TrainSettings(), {"bilevel.eta": 0.25})
    with pytest.raises(ValidationError, match="frozen"):
        settings.bilevel.eta = 1.0
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_every_setting_says_what_it_is_and_why() -> None:
    for key, field in known_settings(TrainSettings):
        about: Any = field.json_schema_extra
        assert field.description, key
        assert about["why"], key
        kind = field.annotation
        assert about["unit"] or kind in (bool, str) or key == "training.seed" or "Literal" in str(kind)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("balance.fairness_strength", 1.01),
        ("balance.fairness_strength", -0.01),
        ("balance.rho", 0),
        ("balance.rho", 1),
        ("cluster.workers", 0),
        ("cluster.threads", 0),
        ("bilevel.folds", 1),
        ("bilevel.xi", -1),
        ("model.temperature", 0),
        ("training.patience", 0),
    ],
)
def test_ranges(key: str, bad: float) -> None:
    with pytest.raises(UserError, match=f"{key} must be"):
        override(TrainSettings(), {key: bad})


def test_base_defaults_are_those_of_the_method() -> None:
    settings = TrainSettings()
    assert (settings.bilevel.xi, settings.balance.rule, settings.model.temperature) == (0.001, "entropy", 0.15)
    assert settings.bilevel.hypergradient == "finite_difference"


def strategy(kind: Any, least: int = 1) -> st.SearchStrategy[Any]:
    if kind is float:
        return st.floats(1e-12, 0.999)
    if kind is int:
        return st.integers(least, 10**9)
    if kind is bool:
        return st.booleans()
    if kind is str:
        return st.text(st.characters(exclude_categories=["Cs"]))
    if kind == float | None:
        return st.none() | strategy(float)
    return st.sampled_from(kind.__args__)


BOUND = (  # refused in some combinations
    "training.metric",
    "training.k",
    "training.strategy",
    "training.method",
    "training.precision",
    "model.loss",
    "model.propagation",
    "model.z_",
    "bilevel.hypergradient",
    "deepspeed.",
)
FREE = {k: field for k, field in known_settings(TrainSettings) if not k.startswith(BOUND)}
LEAST = {"bilevel.folds": 2}


@tries(deadline=None)  # a file is written
@given(
    values=st.fixed_dictionaries(
        {}, optional={k: strategy(field.annotation, LEAST.get(k, 1)) for k, field in FREE.items()}
    )
)
def test_yaml_round_trip(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = override(TrainSettings(), values)
    assert {k: v for k, v in flatten(settings).items() if k in values} == values
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    file.write_text(to_yaml(settings), encoding="utf-8")
    assert load(TrainSettings(), file) == settings


def test_yaml_floats_are_floats_to_other_readers() -> None:
    yaml = pytest.importorskip("yaml")
    values = {"bilevel.eta": 1e-5, "model.temperature": 1e22, "bilevel.xi": 1.5e-7}
    read = yaml.safe_load(to_yaml(override(TrainSettings(), values)))
    assert (read["bilevel"]["eta"], read["model"]["temperature"], read["bilevel"]["xi"]) == (1e-5, 1e22, 1.5e-7)


def test_nested_sections_in_yaml(tmp_path: Path) -> None:
    settings = override(Outer(), {"inner.grid": "1e-9,2", "deep.limit": 4})
    (tmp_path / "c.yaml").write_text(to_yaml(settings))
    assert load(Outer(), tmp_path / "c.yaml") == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bilevel:\n  eta: 1\n  eta: 2\n", "line 3: eta appears twice"),
        ("bilevel: [1\n", "not YAML"),
        ("- 1\n", "expected sections"),
        ("bilevel:\n  etta: 1\n", "unknown setting bilevel.etta; did you mean bilevel.eta?"),
        ("bilevel:\n  eta: quick\n", "bilevel.eta must be a valid number, not 'quick'"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        load(TrainSettings(), file)
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load(TrainSettings(), tmp_path / "empty.yaml") == TrainSettings()
    with pytest.raises(UserError, match=r"cannot read the settings file .*gone\.yaml: No such file"):
        load(TrainSettings(), tmp_path / "gone.yaml")


def test_exponent_in_yaml_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("bilevel:\n  eta: 1e-4\n")
    (tmp_path / "c.json").write_text('{"bilevel": {"eta": 1e-4}}')
    assert load(TrainSettings(), tmp_path / "c.yaml").bilevel.eta == 1e-4
    assert load(TrainSettings(), tmp_path / "c.json").bilevel.eta == 1e-4


def test_command_line_forms_and_precedence(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("bilevel: {eta: 1e-4, xi: 0.5}\n")
    (tmp_path / "b.yaml").write_text("bilevel: {xi: 0.25}\n")
    words = f"--config {tmp_path}/a.yaml --config={tmp_path}/b.yaml --bilevel.eta 1e-2 --training.theta-lr=2e-3".split()
    settings = parse(TrainSettings(), [*words, "--tracking.enabled", "no", "--model.exclude_known", "--data.dataset="])
    assert (settings.bilevel.eta, settings.bilevel.xi, settings.training.theta_lr) == (1e-2, 0.25, 2e-3)
    assert (settings.tracking.enabled, settings.model.exclude_known, settings.data.dataset) == (False, True, "")
    assert parse(TrainSettings(), ["--cluster.gpus_per_worker", "-1"]).cluster.gpus_per_worker == -1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bilevel.etta", "1"], "command line: unknown setting bilevel.etta; did you mean bilevel.eta?"),
        (["--bilevel.eta"], "command line: --bilevel.eta: expected one argument"),
        (["--bilevel.eta", "--model.temperature", "1"], "command line: --bilevel.eta: expected one argument"),
        (["--bilevel.eta", "1", "--bilevel.eta=2"], "given twice"),
        (["eta=1"], "did not expect 'eta=1'"),
        (["--config"], "--config: expected one argument"),
        (["--bilevel", "3"], "bilevel is a section"),
    ],
)
def test_command_line_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(TrainSettings(), words)
    assert message in str(error.value)


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(TrainSettings(), ["--help"], "Trains.")
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert text.startswith("Trains.\n")
    for key, field in known_settings(TrainSettings):
        about: Any = field.json_schema_extra
        assert f"--{key} " in text
        for words in (about["unit"], about["why"]):
            assert "".join(words.split()) in "".join(text.split())  # a line may break at a hyphen, too
    assert max(map(len, text.splitlines())) <= 120


HEAVY = {"torch", "ray", "mlflow", "transformers", "pandas", "pyarrow"}
JOBS = ["train", "tune", "evaluate", "recommend", "report", "serve", "study", "benchmark", "check hypergradient"]


@pytest.mark.parametrize("job", JOBS)
def test_a_mistake_is_told_before_anything_heavy_is_imported(job: str) -> None:
    """Exit code 2 and one line; what is imported is counted, as seconds depend on the machine."""
    name, *words = job.split()
    code = (
        "import runpy, sys, atexit\n"
        f"atexit.register(lambda: print(*({HEAVY} & set(sys.modules))))\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "jobs" / f"{name}.py"), *words, "--outptu", "x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "\n")
    assert done.stderr.startswith("error: command line: unknown setting outptu") and done.stderr.count("\n") == 1


OLD = {"model.output": 7, "model.tau": 0.25, "model.layers": 1, "model.negatives": 9, "training.batch": 33}
NEW = {
    "model.embedding_dim": 7,
    "model.temperature": 0.25,
    "model.num_layers": 1,
    "model.num_negatives": 9,
    "training.batch_size": 33,
}


@pytest.fixture
def fresh_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bifair_dist.settings, "_NOTED", set())


def test_earlier_names_are_accepted_with_one_note(
    fresh_notes: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In files, nested or dotted, and on the command line."""
    wanted = override(TrainSettings(), NEW)
    assert capsys.readouterr().err == ""
    file = tmp_path / "config.yaml"
    file.write_text("model: {output: 7, tau: 0.25, layers: 1, negatives: 9}\ntraining.batch: 33\n")
    assert load(TrainSettings(), file) == wanted
    note = capsys.readouterr().err
    assert note.count("\n") == 1 and note.startswith(
        f"note: {file}: model.output is now model.embedding_dim, model.tau is"
    )
    words = [word for key, value in OLD.items() for word in (f"--{key}", str(value))]
    assert parse(TrainSettings(), words) == override(TrainSettings(), OLD) == wanted
    assert parse(TrainSettings(), ["--model.output=7"]).model.embedding_dim == 7
    assert capsys.readouterr().err == ""  # said once


def test_both_names_of_a_setting_are_refused(fresh_notes: None) -> None:
    with pytest.raises(UserError, match=r"model\.tau is the earlier name of model\.temperature; give one of the two"):
        override(TrainSettings(), {"model.tau": 0.1, "model.temperature": 0.2})
    with pytest.raises(UserError, match=r"--model\.temperature is given twice"):
        parse(TrainSettings(), ["--model.tau", "0.1", "--model.temperature", "0.2"])
