from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from evaluation_problems import problem
from test_metrics import measured, ranked_lists

from bifair_dist.csr import Csr
from bifair_dist.evaluation import GroupMembership, bootstrap_intervals, evaluate
from bifair_dist.evaluation import bootstrap as module
from bifair_dist.evaluation.bootstrap import poisson_weights
from bifair_dist.parallel.comm import Comm


def test_weights_are_poisson_of_mean_one():
    w = poisson_weights(7, np.arange(300), np.arange(1000))
    for k in range(5):
        assert (w == k).mean() == pytest.approx(math.exp(-1) / math.factorial(k), abs=0.003)
    assert w.mean() == pytest.approx(1.0, abs=0.006) and w.var() == pytest.approx(1.0, abs=0.02)
    # independent over users and over replicates, and neighbours are not alike
    assert abs(np.corrcoef(w[:-1].ravel(), w[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(w[:, :-1].ravel(), w[:, 1:].ravel())[0, 1]) < 0.01
    assert np.var(w.sum(0)) == pytest.approx(300, rel=0.2) and np.var(w.sum(1)) == pytest.approx(1000, rel=0.3)


def test_weights_depend_on_seed_replicate_and_user_only():
    users, replicates = np.arange(50), np.arange(20)
    w = poisson_weights(1, replicates, users)
    assert (poisson_weights(1, replicates[5:], users[::-3].copy()) == w[5:, ::-3]).all()
    assert (poisson_weights(2, replicates, users) != w).mean() > 0.4
    assert poisson_weights(-1, replicates, users).shape == (20, 50)


def test_same_as_repeating_users_by_their_weights():
    p = problem(4, 20, 30, ties=False)
    result = measured(p, 5)
    intervals = bootstrap_intervals(result, Comm(), seed=3, replicates=1)
    times = torch.from_numpy(poisson_weights(3, np.arange(1), p.users.numpy())[0]).long()
    # the same users several times over: user r of the drawn sample is a user of its own
    drawn = torch.repeat_interleave(p.users, times)
    row, item = p.test.expand(drawn)
    test = Csr.of(row, item, len(drawn))
    item_table, user_table = p.groups
    position, group = user_table.join(drawn)
    tables = (item_table, GroupMembership("side", "user", user_table.labels, position, group))
    lists, _, _ = ranked_lists(p, 5)
    d = evaluate(
        torch.repeat_interleave(lists, times, dim=0), torch.arange(len(drawn)), test, tables, n_items=p.n_items,
        comm=Comm(),
    ).to_dict()  # fmt: skip
    for key in ("recall@5", "ndcg@5", "hit_ratio@5"):
        assert intervals[key] == pytest.approx([d[key]] * 2, rel=1e-12)
    for name, group_values in d["groups"].items():
        for key in ("cv", "min", "ndcg_cv", "ndcg_min"):
            assert intervals["groups"][name][key] == pytest.approx([group_values[key]] * 2, rel=1e-12)
        for key in ("utility", "ndcg_utility"):
            for label, value in group_values[key].items():
                expected = None if value is None else pytest.approx([value] * 2, rel=1e-12)
                assert intervals["groups"][name][key][label] == expected


def test_width_is_the_standard_error_of_a_mean():
    p = problem(1, 800, 40, ties=False)
    result = measured(p, 10)
    low, high = bootstrap_intervals(result, Comm(), seed=0, replicates=800)["recall@10"]
    kept = result.per_user.recall[result.per_user.counted > 0]
    half = 1.96 * kept.std().item() / math.sqrt(len(kept))
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < kept.mean().item() < high


def test_memory_chunks_do_not_matter(monkeypatch):
    result = measured(problem(6, 40, 30), 5)
    whole = bootstrap_intervals(result, Comm(), seed=1, replicates=30)
    monkeypatch.setattr(module, "_CHUNK", 7 * 31)
    parts = bootstrap_intervals(result, Comm(), seed=1, replicates=30)
    assert parts["ndcg@5"] == pytest.approx(whole["ndcg@5"], rel=1e-12)
    assert parts["groups"]["genre"]["cv"] == pytest.approx(whole["groups"]["genre"]["cv"], rel=1e-12)
    assert parts["groups"]["genre"]["utility"]["nobody"] is None
