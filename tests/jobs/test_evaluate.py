"""`jobs/evaluate.py`: the trainer's own figures again, and the lists of other tools."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from in_process import ROOT, Job
from small_runs import Small, metrics_of, run


@pytest.fixture(scope="module")
def done(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return run(small, tmp_path_factory.mktemp("evaluate"), {"training.method": "alpharec"})


def measured(job: Job, tmp_path: Path, *arguments: object) -> tuple[dict[str, Any], str]:
    """The JSON and what was printed."""
    code, out, err = job("evaluate", *arguments, "--output", tmp_path / "out.json")
    assert code == 0, err
    return json.loads((tmp_path / "out.json").read_text()), out


def of_lists(job: Job, tmp_path: Path, small: Small, table: pd.DataFrame, *more: object) -> tuple[dict[str, Any], str]:
    """The same for a table of another tool, as CSV."""
    table.to_csv(tmp_path / "lists.csv", index=False)
    arguments = ("--recommendations", tmp_path / "lists.csv", "--dataset", small.dataset, *more)
    return measured(job, tmp_path, *arguments)


def test_a_run_gives_its_own_metrics(job: Job, done: Path, tmp_path: Path) -> None:
    summary, out = measured(job, tmp_path, "--run", done, "--replicates", "50")
    for name, value in metrics_of(done)["test"].items():
        assert summary[name] == value, name
    for name in ("recall@20", "ndcg@20"):
        low, high = summary["intervals"][name]
        assert low < summary[name] < high
    assert "genre: CV (lower is fairer)" in out


def test_order_of_rows_and_scores_for_ranks_change_nothing(job: Job, done: Path, small: Small, tmp_path: Path) -> None:
    table = pd.read_parquet(done / "recommendations.parquet")
    want = metrics_of(done)["test"]
    mixed = table.sample(frac=1, random_state=0)
    by_score = mixed.drop(columns="rank").assign(score=-mixed["rank"] * 2.5)
    for lists in (mixed, by_score):
        summary, _ = of_lists(job, tmp_path, small, lists, "--replicates", "0")
        assert "intervals" not in summary
        assert all(summary[name] == value for name, value in want.items())


def test_a_user_without_a_list_counts_with_nothing_found(job: Job, done: Path, small: Small, tmp_path: Path) -> None:
    table = pd.read_parquet(done / "recommendations.parquet")
    users = table["user_id"].unique()
    half = table[table["user_id"].isin(users[: len(users) // 2])]
    whole, part = metrics_of(done)["test"], of_lists(job, tmp_path, small, half, "--replicates", "0")
    assert part[0]["users"] == whole["users"]
    assert 0 < part[0]["recall@20"] < whole["recall@20"]
    assert f"{len(users) - len(users) // 2:,} of {len(users):,} users have no list" in part[1]


def test_a_perfect_list_finds_everything(job: Job, small: Small, tmp_path: Path) -> None:
    """Known answer: what is to be found, first; recall, NDCG and every utility are 1, CV is 0."""
    test = pd.read_parquet(small.dataset / "interactions" / "test.parquet")[["user_id", "item_id"]].astype(str)
    test = test.assign(rank=test.groupby("user_id").cumcount() + 1)
    assert test["rank"].max() <= 20
    summary, out = of_lists(job, tmp_path, small, test, "--replicates", "0")
    assert summary["recall@20"] == summary["ndcg@20"] == summary["hit_ratio@20"] == 1.0
    assert summary["groups"]["genre"]["cv"] == 0.0 and summary["groups"]["genre"]["min"] == 1.0
    assert "shorter than 20" in out


def test_a_group_table_from_a_file_is_the_same_as_the_datasets(
    job: Job, done: Path, small: Small, tmp_path: Path
) -> None:
    table = pd.read_parquet(small.dataset / "groups" / "genre.parquet").astype(str)
    table = table.rename(columns={"entity_id": "item_id"})[["item_id", "group"]]
    table.sample(frac=1, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    summary, _ = measured(job, tmp_path, "--run", done, "--groups", tmp_path / "shuffled.csv", "--replicates", "0")
    ours, theirs = summary["groups"]["genre"], summary["groups"]["shuffled"]
    assert {k: v for k, v in theirs["utility"].items() if v is not None} == pytest.approx(
        {k: v for k, v in ours["utility"].items() if v is not None}, abs=1e-15
    )
    assert (theirs["cv"], theirs["min"]) == pytest.approx((ours["cv"], ours["min"]), abs=1e-15)


def test_training_pairs_in_the_lists_are_told(job: Job, small: Small, tmp_path: Path) -> None:
    train = pd.read_parquet(small.dataset / "interactions" / "train.parquet")[["user_id", "item_id"]].astype(str)
    lists = train.groupby("user_id").head(1).assign(score=1.0)
    _, out = of_lists(job, tmp_path, small, lists, "--replicates", "0")
    assert f"{len(lists):,} of {len(lists):,} places in the lists are pairs of the training data" in out


Edit = Callable[[pd.DataFrame], pd.DataFrame]
BAD: list[tuple[Edit, str]] = [
    (lambda t: t.drop(columns="item_id"), "column 'item_id' is missing"),
    (lambda t: t.drop(columns=["rank", "score"]), "no column 'rank' or 'score'"),
    (lambda t: t.assign(item_id=np.where(np.arange(len(t)) == 4, "nobody", t["item_id"])), "row 5: item_id 'nobody'"),
    (lambda t: pd.concat([t, t.head(1)]), "the item stands twice in the list of this user"),
    (lambda t: t.assign(rank=np.where(np.arange(len(t)) == 2, "x", t["rank"].astype(str))), "line 4: rank 'x' is not"),
    (lambda t: t.head(0), "file is empty"),
]


@pytest.mark.parametrize(("edit", "named"), BAD, ids=[named for _, named in BAD])
def test_bad_lists_are_one_line(edit: Edit, named: str, job: Job, done: Path, small: Small, tmp_path: Path) -> None:
    edit(pd.read_parquet(done / "recommendations.parquet")).to_csv(tmp_path / "lists.csv", index=False)
    code, _, err = job("evaluate", "--recommendations", tmp_path / "lists.csv", "--dataset", small.dataset)
    assert code == 2
    (line,) = err.splitlines()
    assert str(tmp_path / "lists.csv") in line and named in line


def test_nothing_given_is_one_line(job: Job) -> None:
    code, _, err = job("evaluate")
    assert (code, err) == (2, "error: give --run, or --recommendations and --dataset\n")


def test_a_reader_that_closes_the_pipe_ends_it_quietly() -> None:
    command = f"{sys.executable} jobs/evaluate.py --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode in (0, 141)
