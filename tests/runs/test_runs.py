"""The records of a run folder: what is written is what is read, old folders stay readable, damage is one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifair_dist.errors import UserError
from bifair_dist.files import sha256, write_json, writing
from bifair_dist.runs import GroupFigures, Metrics, Provenance, Run, Start, Summary, Validation, best_so_far
from bifair_dist.runs.text import before_after, evaluation_line

FIGURE = st.none() | st.floats(0, 10)
LABELS = st.dictionaries(st.text(max_size=5), FIGURE, max_size=3)
GROUPS = st.builds(
    GroupFigures, FIGURE, FIGURE, LABELS, FIGURE, FIGURE, LABELS, st.lists(st.text(max_size=3)).map(tuple)
)
ITEM_GROUPS = st.builds(GroupFigures, FIGURE, FIGURE, LABELS, exposure=LABELS, mmf=FIGURE)
SUMMARY = st.builds(
    Summary,
    st.fixed_dictionaries({"recall@20": FIGURE, "ndcg@20": FIGURE, "hit_ratio@20": FIGURE}),
    st.dictionaries(st.text(max_size=5), GROUPS | ITEM_GROUPS, max_size=2),
    st.integers(0, 100),
    FIGURE,
    FIGURE,
)
VALIDATION = st.builds(
    Validation,
    phase=st.sampled_from(["alpharec", "bilevel"]),
    epoch=st.integers(0, 9),
    step=st.integers(0, 99),
    loss=st.floats(0, 9),
    best=st.booleans(),
    valid=SUMMARY,
    weights=st.none() | st.lists(st.floats(0, 1), max_size=3),
    began_with=st.none() | st.builds(Start, st.just("recall@20"), st.floats(0, 1), FIGURE, FIGURE),
)


def there_and_back(record: Any) -> Any:
    """Through JSON text."""
    return type(record).from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))


@given(SUMMARY, SUMMARY, VALIDATION)
def test_records_come_back_the_same(one: Summary, other: Summary, validation: Validation) -> None:
    for record in (one, validation, Metrics(one, other), Metrics(one, other, Metrics(other, one))):
        assert there_and_back(record) == record
    provenance = Provenance("1", ("abc",), {"data.dataset": None})
    assert there_and_back(provenance) == provenance


def test_a_run_of_the_first_version_is_read(tmp_path: Path) -> None:
    """Its lines have neither groups balanced nor drift, its metrics no exposure, and it has no provenance."""
    old = {"recall@20": 0.3, "ndcg@20": None, "groups": {"genre": {"cv": 0.2, "min": 0.1, "utility": {"a": 0.1}}}}
    (tmp_path / "config.yaml").write_text("training: {k: 20}\n")
    (tmp_path / "metrics.json").write_text(json.dumps({"valid": old, "test": old}))
    line = {"phase": "alpharec", "epoch": 1, "step": 5, "loss": 2.0, "best": True, "valid": old, "unknown": 1}
    (tmp_path / "history.jsonl").write_text(json.dumps(line) + "\n")
    run = Run.finished_in(tmp_path)
    assert run.config == {"training": {"k": 20}} and run.provenance == Provenance() and run.warnings == []
    assert run.metrics.before is None and run.metrics.test.groups["genre"].minimum == 0.1
    assert run.metrics.test.recall == 0.3 and run.metrics.test.ndcg != run.metrics.test.ndcg
    (validation,) = run.history
    assert validation.z_drift is None and validation.valid.groups["genre"].exposure is None
    assert "ndcg@20 -" in evaluation_line(validation.valid, ["genre"])
    assert before_after(run.metrics, ["genre"]).splitlines()[1].split() == ["recall@20", "0.3000"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.json", "{", "not valid JSON"),
        ("metrics.json", "[]", "not what a training wrote"),
        ("metrics.json", '{"valid": {}}', "not what a training wrote"),
        ("history.jsonl", "{}\n", "not what a training wrote"),
        ("provenance.json", "nothing", "not valid JSON"),
        ("config.yaml", "a: [", "not valid YAML"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        getattr(Run(tmp_path), name.partition(".")[0])
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_run_or_not_finished_is_refused(tmp_path: Path) -> None:
    for folder in ("", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"^run: .*no run folder"):
            Run.of(folder, "run")
    Run(tmp_path).write_config("{}")
    assert Run.of(tmp_path).exists and not Run(tmp_path).finished
    with pytest.raises(UserError, match="not finished"):
        Run.finished_in(tmp_path)
    with pytest.raises(UserError, match="not finished"):
        _ = Run(tmp_path).metrics


def test_history_is_cut_where_the_run_goes_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.cut_history(5) == [] and not run.history_file.exists()
    for step in (1, 2, 3):
        run.append_validation(Validation("alpharec", step, step, 1.0, True, Summary({"recall@20": 0.1})))
    with run.history_file.open("a") as file:
        file.write('{"phase": "alpha')  # cut off while it was written
    assert [v.step for v in run.cut_history(2)] == [1, 2] == [v.step for v in run.history]


def test_the_state_that_would_be_kept_is_the_best_of_the_last_phase() -> None:
    def at(phase: str, epoch: int, best: bool) -> Validation:
        return Validation(phase, epoch, epoch, 1.0, best, Summary({}))

    history = [at("alpharec", 9, True), at("bilevel", 1, True)]
    assert best_so_far(history).epoch == 1
    history += [at("bilevel", 2, True), at("bilevel", 3, False)]
    assert best_so_far(history).epoch == 2


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    first = sha256(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.raises(RuntimeError), writing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert sha256(path) == first and os.listdir(tmp_path) == ["metrics.json"]
    with writing(path) as part:
        part.write_text("whole")
        part.chmod(0o600)  # as safetensors leaves it
    (tmp_path / "other").touch()
    assert path.read_text() == "whole" and path.stat().st_mode == (tmp_path / "other").stat().st_mode
