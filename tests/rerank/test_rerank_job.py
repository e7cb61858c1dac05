"""The job: what it prints is what its lists measure, and bad input is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import Small
from small_runs import run as trained

from bifair_dist.errors import UserError
from bifair_dist.report.evaluate_settings import EvaluateSettings
from bifair_dist.report.evaluated import evaluate_lists
from bifair_dist.rerank.compare import rerank
from bifair_dist.rerank.settings import RerankSettings
from bifair_dist.settings import override


@pytest.fixture(scope="module")
def run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(small, tmp_path_factory.mktemp("rerank"), {"training.method": "alpharec"})


@pytest.mark.parametrize("method", ["max_min", "calibrated"])
def test_the_figures_are_those_of_the_lists(method: str, run: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.parquet"
    values = {"run": str(run), "method": method, "accuracy_budget": 0.5, "replicates": 50, "output": str(lists)}
    found = rerank(override(RerankSettings(), values))
    again = evaluate_lists(override(EvaluateSettings(), {"run": str(run), "recommendations": str(lists)}))
    own = evaluate_lists(override(EvaluateSettings(), {"run": str(run)}))
    for name in ("recall", "ndcg"):
        assert found[name]["after"] == pytest.approx(again[f"{name}@20"], abs=1e-12)
        assert found[name]["before"] == pytest.approx(own[f"{name}@20"], abs=1e-12)
    for table, figures in again["groups"].items():
        assert found[f"{table} cv"]["after"] == pytest.approx(figures["cv"], abs=1e-12)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"group": "gener"}, "group: no group table of items gener"),
        ({"strengths": (2.0,)}, "strengths"),
        ({"run": "nowhere"}, "nowhere"),
        ({"output": "lists.csv"}, "parquet"),
    ],
)
def test_bad_input_is_one_line(values: dict[str, object], line: str, run: Path) -> None:
    with pytest.raises(UserError, match=line):
        rerank(override(RerankSettings(), {"run": str(run), "replicates": 20, **values}))
