"""Known answers and properties of the re-rankers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.rerank.calibrated import calibrated, divergence
from bifair_dist.rerank.candidates import Candidates, candidates
from bifair_dist.rerank.max_min import max_min

K = 4


def problem(seed: int, users: int = 30, items: int = 40, groups: int = 3) -> Candidates:
    """Scores that favour the first group; every item in one or two groups."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.arange(items) % groups
    pairs = torch.unique(
        torch.cat([torch.stack([torch.arange(items), first]), torch.tensor([[3, 7], [1, 2]])], 1), dim=1
    )
    table = GroupMembership("g", "item", tuple(map(str, range(groups))), pairs[0], pairs[1])
    raw = torch.rand(users, items, generator=draw) + 0.5 * (first == 0)
    scores, index = raw.sort(dim=1, descending=True)
    return candidates(scores, index, table, items)


def objective(found: Candidates, lists: Tensor, strength: float, gamma: Tensor) -> float:
    """The primal objective by its definition, user by user."""
    total, exposure = 0.0, np.zeros(len(gamma))
    for row, entries in zip(found.items.tolist(), lists.tolist(), strict=True):
        scores = dict(zip(row, found.scores[found.items.tolist().index(row)].tolist(), strict=True))
        total += sum(scores[i] for i in entries)
        exposure += found.membership[entries].sum(0).numpy()
    places = lists.numel()
    return total / places + strength * float((exposure / places / gamma.numpy()).min())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_max_min_reaches_the_linear_programme(seed: int, strength: float) -> None:
    """The relaxed problem, solved by another program, bounds every list; ours come within 1 % of the strength."""
    found, gamma = problem(seed), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    users, items = found.items.shape
    cost = np.zeros(users * items + 1)
    for u in range(users):
        cost[u * items + found.items[u].numpy()] = -found.scores[u].numpy() / (users * K)
    cost[-1] = -strength
    per_user = np.zeros((users, users * items + 1))
    for u in range(users):
        per_user[u, u * items : (u + 1) * items] = 1
    least = np.tile(found.membership.numpy().T, (1, users)) / (users * K) / gamma.numpy()[:, None]
    at_least = np.hstack([-least, np.ones((len(gamma), 1))])  # t <= e_g / gamma_g
    bounds = [(0, 1)] * (users * items) + [(0, None)]
    best = -linprog(cost, at_least, np.zeros(len(gamma)), per_user, np.full(users, K), bounds).fun
    reached = objective(found, max_min(found, K, strength, gamma), strength, gamma)
    assert best - 0.01 * strength <= reached <= best + 1e-9


def test_more_strength_raises_the_worst_group() -> None:
    found, gamma = problem(1, users=200), torch.full((3,), 1 / 3, dtype=torch.float64)
    worst = []
    for strength in (0.0, 0.2, 1.0):
        lists = max_min(found, K, strength, gamma)
        worst.append(float(found.membership[lists].sum((0, 1)).min() / lists.numel()))
    assert worst[0] < worst[1] <= worst[2] + 0.01 and worst[2] == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("method", ["max_min", "calibrated"])
def test_no_strength_leaves_the_lists(method: str) -> None:
    found = problem(2)
    if method == "max_min":
        lists = max_min(found, K, 0.0, torch.full((3,), 1 / 3, dtype=torch.float64))
    else:
        lists = calibrated(found, K, 0.0, torch.full((30, 3), 1 / 3, dtype=torch.float64))
    assert torch.equal(lists, found.items[:, :K])


def test_an_empty_group_share_is_refused() -> None:
    with pytest.raises(ValueError, match="gamma"):
        max_min(problem(0), K, 0.5, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


def test_calibrated_has_the_history_s_proportions() -> None:
    """At strength 1 only proportions count: half, a quarter, a quarter of 4 places is 2, 1, 1."""
    table = GroupMembership("g", "item", ("a", "b", "c"), torch.arange(12), torch.arange(12) % 3)
    scores = torch.linspace(1, 0, 12).repeat(2, 1)
    found = candidates(scores, torch.arange(12).repeat(2, 1), table, 12)
    history = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], dtype=torch.float64)
    lists = calibrated(found, 4, 1.0, history)
    assert sorted((lists[0] % 3).tolist()) == [0, 0, 1, 2]
    assert (lists[1] % 3).tolist() == [2, 2, 2, 2]
    assert lists[1].tolist() == [2, 5, 8, 11]  # of equal gains the model's order


@pytest.mark.parametrize("seed", range(5))
def test_calibrated_is_near_the_best_of_all_lists(seed: int) -> None:
    """Against every list of three out of eight candidates; the greedy choice has at least 1 - 1/e of the range."""
    found = problem(seed, users=4, items=8)
    draw = torch.Generator().manual_seed(seed)
    history = torch.rand(4, 3, generator=draw, dtype=torch.float64)
    history /= history.sum(1, keepdim=True)
    lists, strength = calibrated(found, 3, 0.5, history), 0.5
    for user in range(4):
        scores = dict(zip(found.items[user].tolist(), found.scores[user].tolist(), strict=True))

        def value(entries: tuple[int, ...], user: int = user, scores: dict[int, float] = scores) -> float:
            counts = found.membership[list(entries)].sum(0)
            kl = float(divergence(history[user], counts))
            return (1 - strength) * sum(scores[i] for i in entries) - strength * len(entries) * kl

        every = [value(entries) for entries in itertools.combinations(range(8), 3)]
        reached = value(tuple(lists[user].tolist()))
        assert min(every) + (1 - 1 / np.e) * (max(every) - min(every)) <= reached <= max(every) + 1e-12


def test_users_do_not_depend_on_each_other_s_order() -> None:
    found = problem(3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    moved = Candidates(found.items[order], found.scores[order], found.membership)
    history = torch.rand(30, 3, dtype=torch.float64)
    history /= history.sum(1, keepdim=True)
    gamma = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert torch.equal(calibrated(found, K, 0.4, history)[order], calibrated(moved, K, 0.4, history[order]))
    assert torch.equal(max_min(found, K, 0.4, gamma)[order], max_min(moved, K, 0.4, gamma))


def test_a_short_list_ends_early_and_scores_are_in_zero_to_one() -> None:
    table = GroupMembership("g", "item", ("a", "b"), torch.arange(4), torch.arange(4) % 2)
    scores = torch.tensor([[0.9, 0.1, -torch.inf], [0.5, 0.4, 0.3]])
    found = candidates(scores, torch.tensor([[1, 0, -1], [2, 3, 1]]), table, 4)
    assert found.scores[0, :2].tolist() == [1.0, 0.0] and found.scores[1].tolist() == pytest.approx([1, 0.5, 0])
    half = torch.full((2, 2), 0.5, dtype=torch.float64)
    for lists in (calibrated(found, 3, 0.5, half), max_min(found, 3, 0.5, half[0])):
        assert sorted(lists[0].tolist()) == [-1, 0, 1] and sorted(lists[1].tolist()) == [1, 2, 3]
