from __future__ import annotations

import json
import math

import pytest
import torch
from evaluation_problems import Problem, as_sets, popularity_of, problem, slow_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_metrics import slow_metrics, slow_ranking

from bifair_dist.csr import Csr
from bifair_dist.evaluation import GroupMembership, evaluate, full_ranking
from bifair_dist.evaluation.average_popularity import average_popularity
from bifair_dist.evaluation.exposure_ratio import exposure_ratio
from bifair_dist.evaluation.inequality import coefficient_of_variation, gini, lowest_quarter, max_min_fairness
from bifair_dist.evaluation.long_tail import long_tail, tail_coverage
from bifair_dist.parallel.comm import Comm


def ranked_lists(p: Problem, k: int, block: int = 4096):
    return full_ranking(
        p.user_rows, p.item_rows, n_users=p.n_users, n_items=p.n_items, known=p.known, users=p.users, k=k, comm=Comm(),
        block=block,
    )  # fmt: skip


def measured(p: Problem, k: int, cut: int | None = None):
    items, _, users = ranked_lists(p, k)
    return evaluate(
        items, users, p.test, p.groups, n_items=p.n_items, comm=Comm(), k=cut, popularity=popularity_of(p)
    )  # fmt: skip


def close(a, b, path=""):
    """Equal structure and numbers equal to 1e-12."""
    if isinstance(b, dict):
        assert set(a) == set(b), path
        for key in b:
            close(a[key], b[key], f"{path}/{key}")
    elif isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-15), path
    else:
        assert a == b, path


@given(st.integers(0, 10**6), st.integers(2, 14), st.integers(1, 25), st.integers(1, 8), st.booleans())
@settings(max_examples=120, deadline=None)
def test_against_the_slow_implementation(seed, n_users, n_items, k, ties):
    p = problem(seed, n_users, n_items, ties=ties)
    items, scores, users = ranked_lists(p, k)
    exact = (p.user_rows @ p.item_rows.T).to(torch.float32).tolist()
    expected = slow_ranking(exact, as_sets(p.known), k)
    assert torch.equal(users, p.users)
    for row, u in enumerate(users.tolist()):
        kept = expected[u]
        assert items[row].tolist() == kept + [-1] * (k - len(kept))
        assert scores[row, : len(kept)].tolist() == [exact[u][i] for i in kept]
    lists = {u: expected[u] for u in users.tolist()}
    fast = measured(p, k).to_dict()
    close(fast, slow_metrics(lists, as_sets(p.test), slow_groups(p), p.n_items, k, popularity_of(p).tolist()))
    json.dumps(fast, allow_nan=False)


def test_a_shorter_cut_off_is_the_shorter_list():
    p = problem(3, 20, 30, ties=False)
    close(measured(p, 10, cut=4).to_dict(), measured(p, 4).to_dict())


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_block_size_does_not_matter(block):
    p = problem(5, 25, 30)
    for a, b in zip(ranked_lists(p, 6, block), ranked_lists(p, 6), strict=True):
        assert torch.equal(a, b)


def test_known_answer():
    # User 0 wants items 0, 1, 2 and gets 1 first and 0 third; user 1 wants 3 and gets it last; user 2 wants nothing.
    ranked = torch.tensor([[1, 3, 0], [0, 1, 3], [0, 1, 2]])
    test = Csr(torch.tensor([0, 3, 4, 4]), torch.tensor([0, 1, 2, 3]))
    table = GroupMembership(
        "genre", "item", ("p", "q", "r"), torch.tensor([0, 1, 1, 3]), torch.tensor([0, 0, 1, 1])
    )  # fmt: skip
    side = GroupMembership("side", "user", ("m", "f"), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    taken = torch.tensor([6, 2, 1, 1])
    d = evaluate(
        ranked, torch.arange(3), test, (table, side), n_items=4, comm=Comm(), popularity=taken
    ).to_dict()  # fmt: skip
    ideal = 1 + 1 / torch.log2(torch.tensor(3.0, dtype=torch.float64)).item() + 0.5
    assert d["users"] == 2
    assert d["recall@3"] == pytest.approx((2 / 3 + 1) / 2)
    assert d["ndcg@3"] == pytest.approx((1.5 / ideal + 0.5) / 2)
    assert d["hit_ratio@3"] == 1.0
    genre = d["groups"]["genre"]
    assert genre["utility"] == {"p": 1.0, "q": 1.0, "r": None}  # p: 2 of 2; q: user 0 finds 1 of 1, user 1 finds 1 of 1
    assert (genre["cv"], genre["min"], genre["empty"]) == (0.0, 1.0, ["r"])
    assert genre["exposure"] == pytest.approx({"p": 6 / 9, "q": 5 / 9, "r": 0.0})
    assert genre["mmf"] == pytest.approx((5 / 9) / (2 / 4))
    # p: 6 of 9 places, 8 of 10 pairs; q: 5 of 9 places, 3 of 10 pairs; r has none.
    assert genre["exposure_ratio"] == {"p": pytest.approx(6 / 9 / 0.8), "q": pytest.approx(5 / 9 / 0.3), "r": None}
    assert d["average_popularity"] == (3 * 6 + 3 * 2 + 1 * 1 + 2 * 1) / 9  # items 0 and 1 thrice, 2 once, 3 twice
    assert d["tail_coverage"] == 1.0  # the head is 0 and 1, with 8 of 10 pairs; 2 and 3 are shown
    assert d["groups"]["side"]["utility"] == {"m": pytest.approx(5 / 6), "f": None}
    assert "exposure" not in d["groups"]["side"]
    assert d["coverage"] == 1.0


def test_without_training_pairs_nothing_is_compared_with_them():
    p = problem(3, 20, 30)
    items, _, users = ranked_lists(p, 4)
    d = evaluate(items, users, p.test, p.groups, n_items=p.n_items, comm=Comm()).to_dict()
    assert d["average_popularity"] is None and d["tail_coverage"] is None
    assert "exposure_ratio" not in d["groups"]["genre"] and "exposure" in d["groups"]["genre"]


def test_renaming_users_and_items_changes_nothing():
    p = problem(9, 15, 24, ties=False)
    u_order, i_order = torch.randperm(p.n_users), torch.randperm(p.n_items)
    new_u, new_i = torch.argsort(u_order), torch.argsort(i_order)  # old index -> new index

    def renamed(of: Csr) -> Csr:
        user, item = of.expand(torch.arange(p.n_users))
        return Csr.of(new_u[user], new_i[item], p.n_users)

    tables = tuple(
        GroupMembership(
            t.name, t.entity, t.labels, (new_i if t.entity == "item" else new_u)[t.entity_index], t.group_index
        )
        for t in p.groups
    )  # fmt: skip
    other = Problem(
        p.user_rows[u_order], p.item_rows[i_order], renamed(p.known), renamed(p.test), new_u[p.users], tables
    )  # fmt: skip
    close(measured(other, 5).to_dict(), measured(p, 5).to_dict())


def test_nobody_with_a_test_positive():
    p = problem(2, 6, 8)
    p.test = Csr(torch.zeros(7, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    d = measured(p, 3).to_dict()
    assert d["users"] == 0 and d["recall@3"] is None and d["groups"]["genre"]["cv"] is None
    assert d["groups"]["genre"]["empty"] == ["a", "b", "c", "d", "nobody"]
    json.dumps(d, allow_nan=False)


def test_nobody_to_rank():
    p = problem(2, 6, 8)
    p.users = torch.zeros(0, dtype=torch.long)
    items, scores, users = ranked_lists(p, 3)
    assert items.shape == (0, 3) and scores.shape == (0, 3) and len(users) == 0
    assert measured(p, 3).to_dict()["gini"] is None


def test_measures_of_inequality():
    nan = float("nan")
    u = torch.tensor([[0.1, 0.3, nan, 0.2], [nan, nan, nan, nan], [0.0, 0.0, nan, nan]], dtype=torch.float64)
    cv, low = coefficient_of_variation(u), lowest_quarter(u)
    assert cv[0].item() == pytest.approx(torch.tensor([0.1, 0.3, 0.2]).std(unbiased=False).item() / 0.2, rel=1e-6)
    assert cv[1:].isnan().all() and low[0].item() == 0.1 and low[1].isnan() and low[2] == 0.0
    eight = torch.tensor([0.8, 0.1, 0.7, 0.2, 0.6, 0.5, 0.4, 0.3], dtype=torch.float64)
    assert lowest_quarter(eight).item() == pytest.approx(0.15)  # two of eight
    assert gini(torch.tensor([5, 5, 5, 5])) == pytest.approx(0.0)
    assert gini(torch.tensor([0, 0, 0, 7])) == pytest.approx(0.75)
    assert average_popularity(torch.tensor([2, 0, 1]), torch.tensor([5, 9, 2])) == 4.0
    ratio = exposure_ratio(torch.tensor([0.6, 0.4, 0.0]), torch.tensor([0.3, 0.8, 0.0]))
    assert ratio[:2].tolist() == pytest.approx([2.0, 0.5]) and ratio[2].isnan()
    assert max_min_fairness(torch.tensor([0.6, 0.4, 0.0]), torch.tensor([0.5, 0.5, 0.0])) == pytest.approx(0.8)


def test_the_head_is_the_fewest_items_with_four_fifths_of_the_pairs():
    assert long_tail(torch.tensor([1, 8, 1])).tolist() == [True, False, True]
    assert long_tail(torch.tensor([1, 7, 2])).tolist() == [True, False, False]
    assert long_tail(torch.tensor([2, 2, 2, 2, 2])).tolist() == [False] * 4 + [True]  # ties by index
    assert long_tail(torch.zeros(3)).tolist() == [True] * 3
    assert tail_coverage(torch.tensor([5, 0, 1, 0]), torch.tensor([False, True, True, True])) == pytest.approx(1 / 3)
    assert math.isnan(tail_coverage(torch.ones(1), torch.tensor([False])))


def test_user_items_from_pairs_sorts_and_drops_duplicates():
    of = Csr.of(torch.tensor([2, 0, 2, 2]), torch.tensor([5, 1, 0, 5]), 4)
    assert of.indptr.tolist() == [0, 1, 1, 3, 3] and of.columns.tolist() == [1, 0, 5]
    row, item = of.expand(torch.tensor([3, 2, 0, 2]))
    assert row.tolist() == [1, 1, 2, 3, 3] and item.tolist() == [0, 5, 1, 0, 5]
