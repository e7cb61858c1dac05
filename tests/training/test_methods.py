"""Each method and each variant of the bi-level phase moves what it should, on the data it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import Small, history_of, metrics_of, run, theta_of, vectors_of
from torch import Tensor

from bifair_dist.bilevel.step import BilevelStep
from bifair_dist.evaluation.choice import objective
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.runs import Summary
from bifair_dist.training.checkpoints import Saved
from bifair_dist.training.folds import Folds
from bifair_dist.training.front import figures
from bifair_dist.training.phases import Phase
from bifair_dist.training.problem import Problem
from bifair_dist.training.trainer import Trainer


@dataclass
class Trace:
    """What a run did, seen from outside: (phase, theta moved, Z moved); of every outer step its batches and the numbers
    of edges of its graphs; the problem."""

    moves: list[tuple[str, bool, bool]] = field(default_factory=list)
    outer: list[tuple[Batch, Batch]] = field(default_factory=list)
    edges: list[set[int]] = field(default_factory=list)
    problem: Problem | None = None


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> Trace:
    out = Trace()
    run_phase, hypergradient = Trainer.run, BilevelStep._hypergradient

    def traced_run(self: Trainer, phase: Phase, saved: Saved | None = None) -> None:
        theta, z = {n: t.clone() for n, t in self.state.theta.items()}, self.state.z.detach().clone()
        run_phase(self, phase, saved)
        moved = any(not torch.equal(theta[n], t) for n, t in self.state.theta.items())
        out.moves.append((phase.name, moved, not torch.equal(z, self.state.z)))
        out.problem = self.problem

    def traced_hypergradient(self: BilevelStep, batch: Batch, a: Tensor, outer: Batch, record: Any) -> Any:
        out.outer.append((batch, outer))
        models: list[Any] = [self.model, self.outer_model, self.places.inner.model]  # type: ignore[attr-defined]
        out.edges.append({m.graph.n_edges for m in models})
        return hypergradient(self, batch, a, outer, record)

    monkeypatch.setattr(Trainer, "run", traced_run)
    monkeypatch.setattr(BilevelStep, "_hypergradient", traced_hypergradient)
    return out


def train(small: Small, folder: Path, changes: Mapping[str, Any]) -> Path:
    """A run whose numbers have to be there and finite."""
    done = run(small, folder / "runs", changes)
    assert all(np.isfinite(record["loss"]) and record["loss"] > 0 for record in history_of(done))
    assert 0 < metrics_of(done)["test"]["recall@20"] < 1
    return done


def inputs_of(problem: Problem) -> Tensor | None:
    """The users' inputs that are held fixed."""
    assert isinstance(problem.model, AlphaRec)
    return problem.model.user_inputs


def test_alpharec_leaves_z_bit_for_bit(small: Small, tmp_path: Path, trace: Trace) -> None:
    done = train(small, tmp_path, {"training.method": "alpharec", "balance.group": "no such table"})
    assert trace.moves == [("base", True, False)] and trace.outer == []
    assert np.array_equal(vectors_of(done / "item_representations"), vectors_of(small.representations))
    assert "before" not in metrics_of(done)


def test_bifair_moves_both(small: Small, tmp_path: Path, trace: Trace) -> None:
    done = train(small, tmp_path, {"bilevel.outer_data": "same"})
    assert trace.moves == [("base", True, False), ("bilevel", True, True)]
    assert all(outer is batch for batch, outer in trace.outer)
    assert not np.array_equal(vectors_of(done / "item_representations"), vectors_of(small.representations))
    assert metrics_of(done)["before"]["test"] != metrics_of(done)["test"]


@pytest.mark.parametrize(
    "changes",
    [
        {"bilevel.hypergradient": "penalty"},
        {"bilevel.hypergradient": "penalty", "model.propagation": "cached"},
        {"bilevel.unroll": "adam", "balance.rule": "meta"},
        {"balance.inner": "plain", "balance.outer": "worst", "balance.outer_strength": 0.8},
    ],
    ids=lambda changes: ", ".join(str(value) for value in changes.values()),
)
def test_bifair_moves_both_in_every_form(changes: dict[str, Any], small: Small, tmp_path: Path, trace: Trace) -> None:
    train(small, tmp_path, changes)
    assert trace.moves[-1] == ("bilevel", True, True)


def test_separate_moves_one_after_the_other(small: Small, tmp_path: Path, trace: Trace) -> None:
    train(small, tmp_path, {"training.method": "separate", "bilevel.inner_steps": 2})
    assert trace.moves == [("base", True, False), ("fair_theta", True, False), ("fair_z", False, True)]
    assert trace.problem is not None
    # In the last phase Z moves in every step, whatever inner_steps says: no inner level is left.
    assert len(trace.outer) == Folds(trace.problem, None).in_epoch(0).sampler.steps_per_epoch


def test_outer_data_next_is_the_next_batch(small: Small, tmp_path: Path, trace: Trace) -> None:
    train(small, tmp_path, {"bilevel.outer_data": "next", "bilevel.xi": 0.1})
    inner = [batch.positives for batch, _ in trace.outer]
    outer = [batch.positives for _, batch in trace.outer]
    assert len(inner) > 3
    assert all(torch.equal(a, b) for a, b in zip(outer, inner[1:], strict=False))
    assert not torch.equal(outer[-1], inner[-1])


@pytest.mark.parametrize("users", ["follow", "frozen"])
def test_a_fold_is_the_outer_level_alone(small: Small, tmp_path: Path, trace: Trace, users: str) -> None:
    train(small, tmp_path, {"training.bilevel_epochs": 4, "bilevel.folds": 4, "model.users": users})
    assert trace.problem is not None
    data, n = trace.problem.dataset, trace.problem.dataset.n_items
    every = data.train.user * n + data.train.item
    folds = Folds(trace.problem, trace.problem.fixed_from)
    held_out = []
    for epoch in range(4):
        inside = folds.in_epoch(epoch)
        assert inside.outer_sampler is not None
        inner = (inside.sampler.user * n + inside.sampler.item).tolist()
        outer = (inside.outer_sampler.user * n + inside.outer_sampler.item).tolist()
        assert sorted(inner + outer) == every.tolist()
        assert inside.model.graph.n_edges == len(inner)
        assert inside.ranking_model.graph.n_edges == len(every)
        if users == "frozen":  # the users' inputs of the inner level are made without the outer pairs
            inputs, z = inputs_of(inside), torch.from_numpy(vectors_of(small.representations))
            mean = torch.zeros(data.n_users, n)
            mean[inside.sampler.user, inside.sampler.item] = 1
            assert inputs is not None
            assert torch.allclose(inputs, (mean @ z) / mean.sum(1, keepdim=True).clamp(min=1), atol=1e-5)
        held_out.append((inner, outer))
    assert sorted(pair for _, outer in held_out for pair in outer) == every.tolist()  # no pair is lost
    steps = len(trace.outer) // 4
    for epoch, (inner, outer) in enumerate(held_out):  # and the training used just these
        for batch, other in trace.outer[epoch * steps : (epoch + 1) * steps]:
            assert set((batch.users * n + batch.positives).tolist()) <= set(inner)
            assert set((other.users * n + other.positives).tolist()) <= set(outer)
        assert all(edges == {len(inner)} for edges in trace.edges[epoch * steps : (epoch + 1) * steps])


@pytest.mark.parametrize("method", ["bifair", "theta_only"])
@pytest.mark.parametrize("losses", ["outer", "inner"])
def test_weights_follow_the_losses_on_the_pairs_asked_for(
    losses: str, method: str, small: Small, tmp_path: Path, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Batch] = []
    refresh = BilevelStep.refresh_weights

    def traced(self: BilevelStep, batch: Batch, record: Any, inner: Batch) -> None:
        asked.append(batch)
        refresh(self, batch, record, inner)

    monkeypatch.setattr(BilevelStep, "refresh_weights", traced)
    changes = {"training.method": method, "balance.losses": losses, "training.bilevel_epochs": 1}
    train(small, tmp_path, changes)
    assert trace.problem is not None and asked
    inside = Folds(trace.problem, trace.problem.fixed_from).in_epoch(0)
    sampler, n = (inside.outer_sampler if losses == "outer" else inside.sampler), trace.problem.dataset.n_items
    assert sampler is not None
    pairs = set((sampler.user * n + sampler.item).tolist())
    assert all(set((b.users * n + b.positives).tolist()) <= pairs for b in asked)


def test_frozen_users_keep_their_inputs(small: Small, tmp_path: Path, trace: Trace) -> None:
    frozen = train(small, tmp_path, {"model.users": "frozen", "training.run_name": "frozen"})
    assert trace.problem is not None
    inputs = inputs_of(trace.problem)
    assert inputs is not None
    z, pairs = vectors_of(small.representations), trace.problem.dataset.train
    mean = np.stack([z[pairs.item[pairs.user == u]].mean(0) for u in range(trace.problem.dataset.n_users)])
    assert np.allclose(inputs.numpy(), mean, atol=1e-5)
    follow = train(small, tmp_path, {"training.run_name": "follow"})
    assert inputs_of(trace.problem) is None
    one, other = (vectors_of(f / "item_representations") for f in (frozen, follow))
    assert not np.allclose(one, other, atol=1e-5)


def test_exact_and_finite_difference_agree(small: Small, tmp_path: Path) -> None:
    """In float64 with steps below the first kink, two whole runs meet; without the term they do not."""
    common: dict[str, Any] = {"model.dtype": "float64", "bilevel.xi": 1.0, "bilevel.eps": 1e-7}
    names: dict[str, dict[str, Any]] = {
        "exact": {"bilevel.hypergradient": "exact"},
        "difference": {},
        "first-order": {"bilevel.xi": 0.0},
    }
    exact, difference, first = (
        vectors_of(train(small, tmp_path, common | changes | {"training.run_name": n}) / "item_representations")
        for n, changes in names.items()
    )
    assert np.abs(exact - difference).max() < 1e-5
    assert np.abs(exact - first).max() > 1e-3


def test_inner_steps(small: Small, tmp_path: Path, trace: Trace) -> None:
    train(small, tmp_path, {"bilevel.inner_steps": 2, "training.batch_size": 300})
    assert trace.problem is not None and trace.moves[1] == ("bilevel", True, True)
    assert len(trace.outer) == Folds(trace.problem, None).in_epoch(0).sampler.steps_per_epoch // 2


def test_early_stopping_keeps_the_best_state(small: Small, tmp_path: Path) -> None:
    """Large steps overfit at once: each phase stops `patience` validations after its best and goes back to it."""
    patience = 2
    done = train(
        small, tmp_path,
        {"training.patience": patience, "training.max_epochs": 40, "training.theta_lr": 0.03,
         "training.bilevel_epochs": 30, "bilevel.eta": 0.2, "bilevel.theta_lr": 0.03},
    )  # fmt: skip
    last: dict[str, Any] = {}
    for phase, most in (("base", 40), ("bilevel", 30)):
        records = [r for r in history_of(done) if r["phase"] == phase]
        values = [value_of(r["valid"], phase, metrics_of(done)) for r in records]
        best = int(np.argmax(values))
        assert len(records) == best + 1 + patience < most, f"{phase}: {values}"
        assert [r["best"] for r in records] == [v > max(values[:i], default=-np.inf) for i, v in enumerate(values)]
        last[phase] = records[best]["valid"]
    assert metrics_of(done)["before"]["valid"] == last["base"]
    assert metrics_of(done)["valid"] == last["bilevel"]


def value_of(valid: dict[str, Any], phase: str, metrics: dict[str, Any]) -> float:
    """What the phase's best state has most of: accuracy, then fairness within the budget."""
    if phase == "base":
        return float(valid["recall@20"])
    base, now = (figures(Summary.from_json(s), ["genre"]) for s in (metrics["before"]["valid"], valid))
    return -objective(base, now, 0.01)


def test_a_run_is_an_input_again(small: Small, tmp_path: Path) -> None:
    first = train(small, tmp_path, {"training.run_name": "first"})
    refined = vectors_of(first / "item_representations")
    again = train(
        small, tmp_path,
        {"data.representations": str(first / "item_representations"), "training.run_name": "again",
         "training.method": "alpharec"},
    )  # fmt: skip
    assert np.array_equal(vectors_of(again / "item_representations"), refined)
    warm = train(small, tmp_path, {"training.warm_start": str(first), "training.run_name": "warm"})
    assert {r["phase"] for r in history_of(warm)} == {"bilevel"}
    assert metrics_of(warm)["before"]["test"] == metrics_of(first)["test"]
    assert any(not np.array_equal(t, theta_of(first)[n]) for n, t in theta_of(warm).items())
