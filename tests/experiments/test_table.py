"""Test figures against the reference's, on lists and figures made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_runs import Small
from small_trials import BASE, PLAIN, RULE, made, summary

from bifair_dist.data.dataset import read_dataset
from bifair_dist.evaluation.many_comparisons import p_value
from bifair_dist.experiments import plots
from bifair_dist.experiments.paired import change_interval, mean_replicates, seed_shares
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.table import (
    MEASURES,
    Entry,
    Value,
    corrected,
    entries_of,
    markdown,
    moved,
    write_study_trials,
)


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
    # Each replicate is a mean of the single runs' replicates, with the shares of the seeds drawn for it.
    singly = torch.stack([mean_replicates([run], dataset, "genre", 20, 300)["cv"] for run in some])
    share = seed_shares(2, 300)
    assert torch.allclose(base["cv"], (share * singly).sum(0))
    assert {*share[0].tolist()} == {0.0, 0.5, 1.0} and torch.equal(share.sum(0), torch.ones(300).double())
    assert base["recall"].mean().item() == pytest.approx(0.5, abs=0.1)


def test_one_odd_seed_is_no_difference(small: Small, tmp_path: Path) -> None:
    """Four seeds of a method as the reference's and one far better: over users alone that would be a difference."""
    dataset = read_dataset(small.dataset)
    own = [lists(small, tmp_path / f"own{s}", 0.5, s) for s in range(5)]
    odd = [*own[:4], lists(small, tmp_path / "odd", 0.9, 4)]
    base, other = (mean_replicates(runs, dataset, "genre", 20, 500)["recall"] for runs in (own, odd))
    low, high = change_interval(other / base - 1)
    assert low == 0.0 < high and p_value(other / base - 1) > 0.05
    alone = [mean_replicates([run], dataset, "genre", 20, 500)["recall"] for run in (own[4], odd[4])]
    assert change_interval(alone[1] / alone[0] - 1)[0] > 0.2
    better = [lists(small, tmp_path / f"better{s}", 0.9, s) for s in range(5)]
    change = mean_replicates(better, dataset, "genre", 20, 500)["recall"] / base - 1
    assert change_interval(change)[0] > 0.2 and p_value(change) < 0.001


def test_a_change_is_against_the_reference_with_the_same_seeds(small: Small, tmp_path: Path) -> None:
    """A method that equals the reference seed by seed has not changed, whichever of its seeds are there."""
    dataset = read_dataset(small.dataset)
    for seed, share in enumerate((0.2, 0.5, 0.9)):
        lists(small, tmp_path / f"run{seed}", share, seed)
    trials = [made(tmp_path, f"run{s}", summary(r, r, r), seed=s) for s, r in enumerate((0.2, 0.5, 0.9))]

    def search(method: str, chosen: slice) -> Search:
        return Search("d", "genre", method, PLAIN, trials[chosen], chosen=trials[chosen])

    found = [search("M", slice(2, 3)), search("N", slice(0, 1)), search("R", slice(0, 3))]
    first, *others = entries_of(found, "R", dataset, 50)
    assert first.method == "R" and first.values["recall"].mean == pytest.approx(1.6 / 3)
    for entry in others:
        assert [(v.change, v.ends, v.p) for v in entry.values.values()] == [(0.0, (0.0, 0.0), 1.0)] * 4
    table = "\n".join(markdown("d, genre", [first, *others], "R"))
    assert "| R | - | 3 |" in table and "bilevel 1 of 4" in table and "warning" not in table


def test_test_figures_are_those_of_chosen_points_alone(tmp_path: Path) -> None:
    tried = [made(tmp_path, f"t{i}", summary(0.5, cv), strength=cv) for i, cv in enumerate((0.2, 0.3))]
    search = Search("d", "genre", "m", RULE, tried, chosen=tried[:1])
    write_study_trials(tmp_path / "trials.parquet", [search])
    frame = pd.read_parquet(tmp_path / "trials.parquet").set_index("run")
    assert frame["test_cv"]["t0"] == 0.2 and np.isnan(frame["test_cv"]["t1"])
    assert frame["valid_cv"]["t1"] == 0.3
    best = search.best()
    assert best is not None and best.name == "t0" and [r.front for r in search.results()] == [True, False]
    assert BASE.recall == 0.5


def test_many_comparisons_are_one_family_without_the_reference() -> None:
    """The paper's four of fifteen remain wherever in the study they stand; the reference's own lines are none of m."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    p += [0.7590, 1.0, float("nan")]

    def entry(method: str, values: list[float]) -> Entry:
        found = {key: Value(0.5, 0.1, 0.1, (0.01, 0.2), one) for key, one in zip(MEASURES, values, strict=True)}
        return Entry(method, {}, [], found, 1.0, "", "", [], 0, 0.0)

    one = [entry("R", [1.0] * 4), entry("A", p[12:]), entry("B", p[:3] + p[4:5])]
    two = [entry("R", [1.0] * 4), entry("A", p[3:4] + p[5:8]), entry("B", p[8:12])]
    kept = [[v.remains for v in e.values.values()] for entries in corrected([one, two], "R") for e in entries]
    none = [False] * 4
    assert kept == [none, none, [True, True, True, False], none, [True, False, False, False], none]
    marks = [moved(v, ends=False) for v in corrected([one, two], "R")[1][1].values.values()]
    assert marks == ["+10.0 %**", "+10.0 %*", "+10.0 %*", "+10.0 %*"]


def test_no_method_of_a_study_is_drawn_as_the_reference() -> None:
    entries = [Entry("R", {}, [], {}, 1.0, "", "", [], 0, 0.0)]
    (_, reference, _), *others = plots.marks(entries, "R")
    assert reference not in {mark for _, mark, _ in others}
    assert len({(colour, mark) for colour, mark, _ in others}) == len(others)
