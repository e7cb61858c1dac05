"""Which point is chosen, and what a paired interval says, on figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import Small

from bifair_dist.data.dataset import read_dataset
from bifair_dist.experiments.cell import Cell, Figures
from bifair_dist.experiments.choice import choose
from bifair_dist.experiments.definition import Data, Method, Study
from bifair_dist.experiments.paired import change_interval, mean_replicates
from bifair_dist.experiments.table import MEASURES, Entry, Value, corrected, entries_of, moved
from bifair_dist.runs import Run, Summary, Validation
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

REFERENCE = Figures(recall=0.5, ndcg=0.4, cv=0.4, minimum=0.1)


def cell(folder: Path, name: str, recall: float, ndcg: float, cv: float, seed: int = 0) -> Cell:
    (folder / name).mkdir(exist_ok=True)
    found = {"recall@20": recall, "ndcg@20": ndcg, "groups": {"genre": {"cv": cv, "min": 0.1}}}
    (folder / name / "metrics.json").write_text(json.dumps({"valid": found, "test": found}))
    last = Validation("bilevel", 1, 1, 1.0, True, Summary.from_json(found), seconds_per_epoch=1.0)
    Run(folder / name).append_validation(last)
    place = {"training.output": str(folder), "training.run_name": name}
    return Cell("d", "genre", "m", {"name": name}, seed, override(TrainSettings(), place))


def test_least_cv_among_those_that_keep_recall_and_ndcg(tmp_path: Path) -> None:
    cells = [
        cell(tmp_path, "fair but inaccurate", 0.40, 0.40, 0.1),
        cell(tmp_path, "keeps recall alone", 0.50, 0.39, 0.2),
        cell(tmp_path, "right", 0.496, 0.397, 0.3),
        cell(tmp_path, "safe", 0.52, 0.42, 0.35),
    ]
    for order in (cells, cells[::-1]):
        chosen = choose(order, "genre", REFERENCE, 0.99)
        assert chosen is not None and chosen.point["name"] == "right"
    # On the plain loss recall alone counts; a training that is not finished is not chosen.
    unfinished = Cell("d", "", "m", {}, 0, override(TrainSettings(), {"training.run_name": "x"}))
    best = choose([*cells, unfinished], "", None, 0.99)
    assert best is not None and best.point["name"] == "safe"
    assert choose([unfinished], "genre", REFERENCE, 0.99) is None


def lists(small: Small, folder: Path, found: float, seed: int) -> Path:
    """A run folder whose lists have a user's test items first, for a share `found` of the users."""
    dataset = read_dataset(small.dataset)
    draw = np.random.default_rng(seed)
    rows = []
    for user in np.unique(dataset.test.user):
        wanted = dataset.test.item[dataset.test.user == user]
        items = [*wanted, *(i for i in draw.permutation(dataset.n_items) if i not in wanted)]
        chosen = items[:20] if draw.random() < found else items[len(wanted) : len(wanted) + 20]
        rows += [(dataset.user_ids[user], dataset.item_ids[i], rank + 1, 0.0) for rank, i in enumerate(chosen)]
    folder.mkdir()
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rank", "score"])
    frame.to_parquet(folder / "recommendations.parquet", index=False)
    return folder


def test_paired_intervals_of_known_lists(small: Small, tmp_path: Path) -> None:
    dataset = read_dataset(small.dataset)
    some = [lists(small, tmp_path / f"some{s}", 0.5, s) for s in range(2)]
    more = [lists(small, tmp_path / f"more{s}", 0.8, s) for s in range(2)]
    base, better = (mean_replicates(runs, dataset, "genre", 20, 300) for runs in (some, more))
    same = change_interval(base["recall"] / base["recall"] - 1)
    assert same == (0.0, 0.0)  # paired: the draw of users cancels out
    low, high = change_interval(better["recall"] / base["recall"] - 1)
    assert 0.2 < low < 0.6 < high  # .8 against .5
    # The mean over seeds is that of the replicates, and order does not matter.
    singly = [mean_replicates([run], dataset, "genre", 20, 300)["cv"] for run in some]
    assert torch.allclose(base["cv"], (singly[0] + singly[1]) / 2)
    assert base["recall"].mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_change_is_against_the_reference_with_the_same_seeds(small: Small, tmp_path: Path) -> None:
    """A method that equals the reference seed by seed has not changed, whichever of its seeds are there."""
    dataset = read_dataset(small.dataset)
    for seed, share in enumerate((0.2, 0.5, 0.9)):
        lists(small, tmp_path / f"run{seed}", share, seed)
    cells = [cell(tmp_path, f"run{s}", r, r, r, seed=s) for s, r in enumerate((0.2, 0.5, 0.9))]
    reference = Method("R", {}, ({},))
    study = Study("s", "", (), (reference,), "R", (0, 1, 2), 0.99, {})
    found = [("M", cells[2:], cells[2:]), ("N", cells[:1], cells[:1]), ("R", cells, cells)]
    first, *others = entries_of(found, study, dataset, "genre", 50)
    assert first.method == "R" and first.values["recall"].mean == pytest.approx(1.6 / 3)
    for entry in others:
        assert [(v.change, v.ends, v.p) for v in entry.values.values()] == [(0.0, (0.0, 0.0), 1.0)] * 4


def test_many_comparisons_are_one_family_without_the_reference() -> None:
    """The paper's four of fifteen remain wherever in the study they stand; the reference's own lines are none of m."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
         0.7590, 1.0, float("nan")]  # fmt: skip

    def entry(method: str, values: list[float]) -> Entry:
        found = {key: Value(0.5, 0.1, 0.1, (0.01, 0.2), one) for key, one in zip(MEASURES, values, strict=True)}
        return Entry(method, {}, [], found, 1.0, [], 0)

    data, other = (Data(name, name, "", {}, ("genre",)) for name in ("d", "e"))
    rows = [
        (data, "genre", [entry("R", [1.0] * 4), entry("A", p[12:]), entry("B", p[:3] + p[4:5])]),
        (other, "genre", [entry("R", [1.0] * 4), entry("A", p[3:4] + p[5:8]), entry("B", p[8:12])]),
    ]
    kept = {(d.name, e.method): [v.remains for v in e.values.values()] for d, _, es in corrected(rows, "R") for e in es}
    assert kept == {
        ("d", "R"): [False] * 4, ("d", "A"): [False] * 4, ("d", "B"): [True, True, True, False],
        ("e", "R"): [False] * 4, ("e", "A"): [True, False, False, False], ("e", "B"): [False] * 4,
    }  # fmt: skip
    marks = [moved(v, ends=False) for v in corrected(rows, "R")[1][2][1].values.values()]
    assert marks == ["+10.0 %**", "+10.0 %*", "+10.0 %*", "+10.0 %*"]
