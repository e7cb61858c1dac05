"""`jobs/recommend.py`: a run's own lists again from its folder, for whom one asks; and Z taken elsewhere and back."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import Job
from small_runs import Small, metrics_of, run, vectors_of

from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.representations import write_representations

KINDS = {
    "alpharec": {"training.method": "alpharec"},
    "bifair, users follow Z": {"model.users": "follow"},
    "bifair, users frozen": {"model.users": "frozen", "bilevel.eta": 0.05},
    "linear projector": {"model.projector": "linear"},
}


@pytest.fixture(scope="module", params=KINDS)
def done(request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of each kind."""
    return run(small, tmp_path_factory.mktemp("recommend"), KINDS[request.param])


def lists(job: Job, tmp_path: Path, *arguments: object) -> pd.DataFrame:
    code, _, err = job("recommend", *arguments, "--output", tmp_path / "lists.parquet")
    assert code == 0, err
    return pd.read_parquet(tmp_path / "lists.parquet")


def test_the_lists_of_the_run_come_back(job: Job, done: Path, tmp_path: Path) -> None:
    """With what the trainer left out left out, for the users that it ranked."""
    want = pd.read_parquet(done / "recommendations.parquet")
    got = lists(job, tmp_path, "--run", done, "--exclude", "valid")
    got = got[got["user_id"].isin(want["user_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(got[["user_id", "rank", "item_id"]], want[["user_id", "rank", "item_id"]])
    np.testing.assert_allclose(got["score"], want["score"], atol=1e-6)


def test_whom_one_asks_for_what_they_have_not(job: Job, done: Path, small: Small, tmp_path: Path) -> None:
    dataset = read_dataset(small.dataset)
    asked = [str(dataset.user_ids[i]) for i in (7, 3)]
    (tmp_path / "users.txt").write_text("\n".join([*asked, ""]))
    got = lists(job, tmp_path, "--run", done, "--users_file", tmp_path / "users.txt", "--k", 5)
    assert got["user_id"].tolist() == [u for u in asked for _ in range(5)]
    assert got["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    titles = pd.read_parquet(small.dataset / "items.parquet").set_index("item_id")["title"]
    assert got["title"].tolist() == titles[got["item_id"]].tolist()
    for user in (7, 3):
        of_user = set(got[got["user_id"] == dataset.user_ids[user]]["item_id"])
        for split in (dataset.train, dataset.valid, dataset.test):
            assert not of_user & set(dataset.item_ids[split.item[split.user == user]])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--users", "nobody"), "'nobody' is no user of the run"),
        (("--output", "lists.txt"), "end it in .parquet or .csv"),
        (("--users_file", "nowhere.txt"), "nowhere.txt: No such file"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, str], told: str, job: Job, done: Path) -> None:
    code, _, err = job("recommend", "--run", done, *words)
    assert code == 2 and told in err and len(err.splitlines()) == 1


def test_an_output_that_is_there_is_replaced_only_where_told(job: Job, done: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("precious")
    words = ("--run", done, "--k", 2, "--output", tmp_path / "mine.csv")
    code, _, err = job("recommend", *words)
    assert code == 2 and "mine.csv is there already" in err and (tmp_path / "mine.csv").read_text() == "precious"
    assert job("recommend", *words, "--overwrite", "yes")[0] == 0
    assert (tmp_path / "mine.csv").read_text().startswith("user_id,")


def test_an_unfinished_run_is_refused(job: Job, done: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((done / "config.yaml").read_text())
    code, _, err = job("recommend", "--run", tmp_path)
    assert code == 2 and "not finished" in err


def test_refined_representations_go_elsewhere_and_come_back(done: Path, small: Small, tmp_path: Path) -> None:
    """Into pandas, into FAISS where it is installed, and back into training as they were."""
    table = pd.concat(pd.read_parquet(p) for p in sorted((done / "item_representations").glob("part-*.parquet")))
    vectors = np.stack(table["vector"].to_list())
    assert table["item_id"].tolist() == read_dataset(small.dataset).item_ids.tolist()
    if importlib.util.find_spec("faiss"):
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        nearest = index.search(vectors[:5] / np.linalg.norm(vectors[:5], axis=1, keepdims=True), 1)[1]
        assert nearest.shape == (5, 1)
    back = tmp_path / "back"
    write_representations(back, table["item_id"].to_numpy(), vectors, {"model": "back"})
    settings = {"data.representations": str(back), "training.method": "alpharec"}
    again = run(small, tmp_path / "runs", settings)
    np.testing.assert_array_equal(vectors_of(again / "item_representations"), vectors_of(done / "item_representations"))
    assert metrics_of(again)["test"]
