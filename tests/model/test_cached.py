"""Cached propagation against dense algebra, in float64: where it is exact, and what its gradient is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense_backbone as dense
import pytest
import torch
from torch import Tensor

from bifair_dist.bilevel.exact import exact, mixed_product
from bifair_dist.bilevel.finite_difference import finite_difference
from bifair_dist.csr import Csr
from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.model.cached import CachedAlphaRec, _factor
from bifair_dist.model.graph import build_graph
from bifair_dist.model.projector import init_theta
from bifair_dist.model.refresh import InBlocks, own_weight
from bifair_dist.parallel.comm import Comm
from bifair_dist.parallel.layout import Sharded
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.parallel.touched import TouchedRows

P = dense.problem(3, n_users=40, n_items=30, edges=300, d=6)


def full_model(**changes: Any) -> AlphaRec:
    graph = build_graph(P.user, P.item, P.n_users, P.n_items, torch.float64)
    return AlphaRec(graph, Sharded(Comm()), **({"tau": 0.3} | changes))


def cached_model(ridge: float = 1e-3, per: int = 2, **changes: Any) -> CachedAlphaRec:
    full = full_model(**changes)
    return CachedAlphaRec(full, TouchedRows(Comm(), full.graph, per), ridge)


def batch_of(size: int = 120, negatives: int = 12, shared: bool = True, step: int = 0) -> Batch:
    known = Csr.of(P.user, P.item, P.n_users)
    sampler = BatchSampler(
        P.user, P.item, P.n_items, batch_size=size, negatives=negatives, shared=shared, known=known, seed=1
    )
    return sampler.batch(0, step)


def theta_of(kind: str = "mlp", seed: int = 0, hidden: int = 8, k: int = 5) -> dict[str, Tensor]:
    return init_theta(6, hidden, k, kind, seed, torch.float64)


def moved(theta: dict[str, Tensor], by: float, seed: int = 9) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {n: t + by * torch.randn(t.shape, generator=rng, dtype=t.dtype) for n, t in theta.items()}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_exact_where_nothing_has_moved(layers: int, shared: bool, kind: str) -> None:
    model, theta, batch = cached_model(layers=layers), theta_of(kind), batch_of(shared=shared)
    model.refresh(theta, P.z)
    rows = model.select(batch)
    losses = model.example_losses(theta, P.z[rows], batch)
    users, items = dense.nodes(P, theta, P.z, layers)
    known = torch.zeros(P.n_users, P.n_items, dtype=torch.bool)
    known[P.user, P.item] = True
    assert dense.relative(losses, dense.losses(users, items, batch, 0.3, known)) < 1e-12
    assert float(model.explained) == 1.0
    nudged = {
        name: t * (1 + 2 * torch.finfo(t.dtype).eps) for name, t in theta.items()
    }  # as another order of sums would
    model.example_losses(nudged, P.z[rows], batch)
    assert float(model.explained) == 1.0


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_exact_where_the_drift_is_affine(layers: int) -> None:
    """A linear projector from 6 to 6 columns: any other one gives an affine map of its outputs."""
    model, theta, batch = cached_model(1e-13, layers=layers), theta_of("linear", k=6), batch_of()
    model.refresh(theta, P.z)
    rows, other = model.select(batch), moved(theta, 0.5)
    users, items = dense.nodes(P, other, P.z, layers)
    known = torch.zeros(P.n_users, P.n_items, dtype=torch.bool)
    known[P.user, P.item] = True
    losses = model.example_losses(other, P.z[rows], batch)
    assert dense.relative(losses, dense.losses(users, items, batch, 0.3, known)) < 1e-8
    assert float(model.explained) == pytest.approx(1.0, abs=1e-9)


def test_without_layers_the_fit_cancels_out() -> None:
    """P is the identity: Y = X, r = p = 1, so the outputs are x itself, whatever has moved."""
    model, theta, batch = cached_model(0.1, layers=0), theta_of(), batch_of()
    model.refresh(theta, P.z)
    rows, other = model.select(batch), moved(theta, 0.3)
    z = P.z + 0.1 * torch.randn(P.z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = replace(full_model(layers=0), user_inputs=full_model().pooled(P.z))  # users stay as they were
    wanted = inputs.example_losses(other, z, batch)
    assert dense.relative(model.example_losses(other, z[rows], batch), wanted) < 1e-12


def test_outputs_are_those_of_the_formula_written_out_densely() -> None:
    """After two refreshes, the first at another theta and Z."""
    model, theta, batch = cached_model(0.01), theta_of(), batch_of(25)
    earlier = moved(theta, 0.3, seed=5), P.z - 0.1
    model.refresh(*earlier)
    model.refresh(theta, P.z)
    rows, other = model.select(batch), moved(theta, 0.2)
    z = P.z + 0.05
    r = P.adjacency
    zbar = dense.user_means(r, P.z)
    x = torch.cat([dense.project(theta, zbar), dense.project(theta, P.z)])
    p = dense.propagate(r, torch.eye(P.n_users + P.n_items, dtype=torch.float64), 2)
    users = batch.users.unique()
    items = torch.cat([batch.positives, batch.negatives]).unique()
    n = torch.cat([users, P.n_users + items])
    old = torch.cat([dense.project(earlier[0], y) for y in (dense.user_means(r, earlier[1]), earlier[1])])
    f = torch.cat([x, x - old, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    d = torch.cat([dense.project(other, zbar[users]), dense.project(other, z[items])]) - x[n]
    gram = f[n].T @ f[n]
    m = torch.linalg.solve(gram + 0.01 * torch.diag(gram.diagonal()), f[n].T @ d)
    out = torch.zeros(len(x), 5, dtype=torch.float64)
    out[n] = (p @ x)[n] + (p @ f)[n] @ m + p.diagonal()[n, None] * (d - f[n] @ m)
    known = r > 0
    wanted = dense.losses(out[: P.n_users], out[P.n_users :], batch, 0.3, known)
    assert dense.relative(model.example_losses(other, z[rows], batch), wanted) < 1e-10
    explained = 1 - float((d - f[n] @ m).square().sum() / d.square().sum())
    assert float(model.explained) == pytest.approx(explained, abs=1e-10)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_nodes_own_weight_is_the_diagonal_of_p(layers: int) -> None:
    eye = torch.eye(P.n_users + P.n_items, dtype=torch.float64)
    wanted = dense.propagate(P.adjacency, eye, layers).diagonal()
    users, items = own_weight(full_model().graph, layers)
    linked = torch.cat([P.adjacency.sum(1), P.adjacency.sum(0)]) > 0
    got = torch.cat([users, items]).squeeze(1)
    assert dense.relative(got[linked], wanted[linked]) < 1e-12


def test_rankings_in_blocks_are_those_of_the_full_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bifair_dist.model.refresh.ROWS", 7)
    monkeypatch.setattr("bifair_dist.model.refresh.COLUMNS", 4)
    theta, full = theta_of(), full_model()
    blocks = InBlocks(full.graph, full.layout, full.layers, full.tau)
    for got, wanted in zip(blocks.ranking_rows(theta, P.z), full.ranking_rows(theta, P.z), strict=True):
        assert dense.relative(got, wanted) < 1e-12


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_refresh_writes_over_the_pass_before_the_last(layers: int) -> None:
    """And leaves there what a model without a past has after the last two."""
    model, other = cached_model(layers=layers), cached_model(layers=layers)
    states = [(moved(theta_of(), 0.1 * n), P.z + 0.1 * n) for n in range(4)]
    places = []
    for state in states:
        model.refresh(*state)
        assert model.cache is not None
        places.append({t.data_ptr() for t in (model.cache.now.users, model.cache.now.out_items, model.cache.inputs)})
    for state in states[-2:]:
        other.refresh(*state)
    assert places[0] == places[2] and places[1] == places[3] and len(places[0] | places[1]) == 5
    assert model.cache is not None and other.cache is not None
    assert torch.equal(model.cache.inputs, other.cache.inputs)
    for one, two in ((model.cache.now, other.cache.now), (model.cache.before, other.cache.before)):
        for name in ("users", "items", "out_users", "out_items"):
            assert torch.equal(getattr(one, name), getattr(two, name))


def gradients(model: Any, theta: dict[str, Tensor], z: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    theta = {n: t.clone().requires_grad_() for n, t in theta.items()}
    z = z.clone().requires_grad_()
    by_z, *by_theta = torch.autograd.grad(model.example_losses(theta, z, batch).mean(), [z, *theta.values()])
    return torch.cat([g.reshape(-1) for g in by_theta]), by_z


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("by", [0.0, 0.02])
def test_the_gradient_points_where_the_full_one_does(by: float) -> None:
    """By theta, also where it has not moved since the refresh; a map without a gradient (below) is off."""
    model, theta, batch = cached_model(1e-6), theta_of(), batch_of()
    model.refresh(theta, P.z)
    rows, other = model.select(batch), moved(theta, by)
    full = gradients(full_model(), other, P.z, batch)[0]
    assert cosine(gradients(model, other, P.z[rows], batch)[0], full) > 0.995


def test_the_gradient_by_z_has_the_full_ones_expectation() -> None:
    """Items' own rows, and the users' inputs through drawn items: averaged over draws, close to the full gradient."""
    model, theta = cached_model(1e-6, per=2), theta_of()
    model.refresh(theta, P.z)
    found, batch = torch.zeros_like(P.z), batch_of()
    for key in range(200):
        drawn = replace(batch, key=key)
        rows = model.select(drawn)
        found.index_add_(0, rows, gradients(model, theta, P.z[rows], drawn)[1] / 200)
    assert cosine(found, gradients(full_model(), theta, P.z, batch)[1]) > 0.98


@pytest.mark.parametrize("users", ["follow", "frozen"])
def test_finite_difference_meets_the_exact_second_order_term(users: str) -> None:
    full = full_model()
    if users == "frozen":
        full = replace(full, user_inputs=full.pooled(P.z))
    model = CachedAlphaRec(full, TouchedRows(Comm(), full.graph, 2 if users == "follow" else 0))
    theta, batch = theta_of(), batch_of()
    model.refresh(theta, P.z)
    rows, theta = model.select(batch), moved(theta, 1e-2)
    z = P.z[rows] + 1e-3

    def loss(t: dict[str, Tensor], rows: Tensor) -> Tensor:
        return model.example_losses(t, rows, batch).mean()

    leaves = {n: t.clone().requires_grad_() for n, t in theta.items()}
    g = dict(zip(leaves, torch.autograd.grad(loss(leaves, z), list(leaves.values())), strict=True))
    a = exact(loss, loss, theta, g, z, xi=0.1, total=lambda t: t)
    b = finite_difference(loss, loss, theta, g, z, xi=0.1, eps=1e-5, total=lambda t: t)
    second = mixed_product(loss, theta, a.v, z)
    assert second.norm() > 1e-3 * a.g_z.norm()
    first = a.g_z + 0.1 * second
    assert dense.relative((first - b.g_z) / 0.1, second) < 1e-4


def test_every_pass_of_a_step_reads_the_same_draws() -> None:
    model, theta, batch = cached_model(), theta_of(), batch_of()
    model.refresh(theta, P.z)
    rows = model.select(batch)
    first = gradients(model, theta, P.z[rows], batch)[1]
    assert torch.equal(first, gradients(model, theta, P.z[rows], batch)[1])
    assert torch.equal(rows, model.select(batch)) and torch.equal(first, gradients(model, theta, P.z[rows], batch)[1])


def test_a_fit_without_a_solution_is_one_line() -> None:
    same = torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(UserError, match=r"^cached\.ridge: with 0 the fit of a batch has no solution"):
        _factor(same, 0.0)
    with pytest.raises(UserError, match=r"^cached propagation: the cached representations are no numbers any more"):
        _factor(same * torch.nan, 1e-3)
    torch.testing.assert_close(_factor(same + torch.eye(2, dtype=torch.float64), 1.0)[0, 0] ** 2, same[0, 0] * 2)
