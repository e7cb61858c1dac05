"""The graph, its products and LightGCN against dense matrices."""

from __future__ import annotations

import dense_backbone as dense
import pytest
import torch
from dense_backbone import relative

from bifair_dist.csr import Csr
from bifair_dist.model import propagation
from bifair_dist.model.graph import Graph, build_graph
from bifair_dist.model.propagation import SparseProduct, light_gcn, mean_of_items, to_items, to_users


def graph_of(p: dense.Problem, dtype: torch.dtype = torch.float64) -> Graph:
    return build_graph(p.user, p.item, p.n_users, p.n_items, dtype)


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_graph_holds_the_adjacency_and_its_transpose() -> None:
    p = dense.problem()
    graph, r = graph_of(p), p.adjacency
    assert torch.equal(graph.forward.to_dense(), r) and torch.equal(graph.backward.to_dense(), r.T)
    assert torch.equal(graph.user_degree.squeeze(1), r.sum(1).clamp(min=1))
    assert torch.equal(graph.item_degree.squeeze(1), r.sum(0).clamp(min=1))
    assert (graph.n_users, graph.n_items, graph.n_edges) == (9, 11, 40)


def test_products_are_sums_over_neighbours() -> None:
    p = dense.problem()
    graph, r = graph_of(p), p.adjacency
    items, users = random(p.n_items, 3), random(p.n_users, 3)
    assert relative(to_users(items, graph), r @ items) < 1e-14
    assert relative(to_items(users, graph), r.T @ users) < 1e-14


@pytest.mark.parametrize("columns", [1, 31, 32, 64])
def test_float32_products_are_the_same_sums_at_every_width(columns: int) -> None:
    """Narrow and wide products take different ways through torch; whole numbers make both exact."""
    p = dense.problem()
    graph, r = graph_of(p, torch.float32), p.adjacency
    items = (random(p.n_items, columns) * 8).round()
    assert torch.equal(to_users(items.float(), graph).double(), r @ items)
    empty = build_graph(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 2, 3)
    assert torch.equal(to_users(torch.ones(3, columns), empty), torch.zeros(2, columns))


@pytest.mark.parametrize("cache", [1, 11 * 4 * 32, 11 * 4 * 96])
def test_blocks_of_columns_change_nothing(cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No block fits, blocks of 32 with a rest of 6, blocks of 96."""
    p = dense.problem()
    graph, r = graph_of(p, torch.float32), p.adjacency
    items = (random(p.n_items, 102) * 8).round()
    monkeypatch.setattr(propagation, "CACHE", cache)
    assert propagation.block_columns(p.n_items, 102) == {1: 102, 1408: 32, 4224: 96}[cache]
    assert torch.equal(to_users(items.float(), graph).double(), r @ items)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written over what was there; whole numbers make the sums exact."""
    p = dense.problem(0)
    graph, x = graph_of(p, torch.float32), torch.randint(-9, 9, (p.n_items, 33)).float()
    monkeypatch.setattr(propagation, "CACHE", 1)
    monkeypatch.setattr(propagation, "ROWS", 3)
    out = torch.full((p.n_users, 33), torch.nan)
    assert propagation.product_into(graph.forward, x, out) is out
    assert torch.equal(out, p.adjacency.float() @ x)


def test_blocks_are_as_wide_as_the_cache_allows() -> None:
    columns = propagation.block_columns
    assert [columns(n, 512) for n in (0, 2810, 5949, 10_000, 65_536, 65_537)] == [512, 160, 64, 32, 32, 512]


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
def test_light_gcn_is_the_mean_of_matrix_powers(layers: int) -> None:
    p = dense.problem(2)
    users, items = random(p.n_users, 3), random(p.n_items, 3, seed=2)
    expected = dense.propagate(p.adjacency, torch.cat([users, items]), layers)
    ours = torch.cat(light_gcn(users, items, graph_of(p), layers))
    assert relative(ours, expected) < 1e-14


def test_isolated_nodes_keep_a_share_of_their_own_layer_and_never_divide_by_zero() -> None:
    p = dense.problem()
    users, items = random(p.n_users, 3), random(p.n_items, 3, seed=2)
    out_users, out_items = light_gcn(users, items, graph_of(p), 2)
    torch.testing.assert_close(out_users[-1], users[-1] / 3)
    torch.testing.assert_close(out_items[-2:], items[-2:] / 3)
    assert torch.equal(mean_of_items(items, graph_of(p))[-1], torch.zeros(3, dtype=torch.float64))


def test_a_graph_without_edges() -> None:
    none = torch.empty(0, dtype=torch.int64)
    graph = build_graph(none, none, 2, 3, torch.float64)
    users, items = light_gcn(random(2, 2), random(3, 2), graph, 2)
    assert relative(users, random(2, 2) / 3) < 1e-15 and relative(items, random(3, 2) / 3) < 1e-15


def test_columns_do_not_mix() -> None:
    """What lets every worker propagate a few columns by itself."""
    p = dense.problem()
    users, items, graph = random(p.n_users, 5), random(p.n_items, 5, seed=2), graph_of(p)
    whole = torch.cat(light_gcn(users, items, graph, 2))
    parts = [torch.cat(light_gcn(users[:, c], items[:, c], graph, 2)) for c in (slice(0, 2), slice(2, 5))]
    assert relative(torch.cat(parts, dim=1), whole) < 1e-15


def test_product_can_be_differentiated_twice() -> None:
    p = dense.problem()
    graph = graph_of(p)
    x = random(p.n_items, 2).requires_grad_()

    def product(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = SparseProduct.apply(x, graph.forward, graph.backward)
        return y * y  # so that the second derivative is not zero

    assert torch.autograd.gradcheck(product, (x,))
    assert torch.autograd.gradgradcheck(product, (x,))


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_light_gcn_is_its_own_transpose(layers: int) -> None:
    """So its backward is itself: against the derivatives of the matrix powers, and differentiable twice."""
    p = dense.problem(2)
    graph = graph_of(p)
    users, items = random(p.n_users, 2).requires_grad_(), random(p.n_items, 2, seed=2).requires_grad_()
    spread = random(p.n_users + p.n_items, 2, seed=3)
    found = torch.autograd.grad((torch.cat(light_gcn(users, items, graph, layers)) * spread).sum(), (users, items))
    expected = dense.propagate(p.adjacency, spread, layers)
    assert relative(torch.cat(found), expected) < 1e-13

    def squares(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return torch.cat(light_gcn(users, items, graph, layers)) ** 2

    assert torch.autograd.gradcheck(squares, (users, items))
    assert torch.autograd.gradgradcheck(squares, (users, items))


def test_csr_transposed() -> None:
    rows = Csr.of(torch.tensor([3, 0, 3, 1, 0]), torch.tensor([2, 5, 0, 4, 0]), 5)
    turned = rows.transposed(7)
    expected = Csr.of(torch.tensor([2, 5, 0, 4, 0]), torch.tensor([3, 0, 3, 1, 0]), 7)
    assert torch.equal(turned.indptr, expected.indptr) and torch.equal(turned.columns, expected.columns)


def test_csr_rows_in_any_order_of_pairs() -> None:
    row, column = torch.tensor([3, 0, 3, 1, 0, 3]), torch.tensor([2, 9, 0, 4, 1, 2])  # (3, 2) twice
    rows = Csr.of(row, column, 5)
    assert rows.indptr.tolist() == [0, 2, 3, 3, 5, 5]
    assert rows.columns.tolist() == [1, 9, 4, 0, 2]
    position, found = rows.expand(torch.tensor([3, 2, 0, 3]))
    assert position.tolist() == [0, 0, 2, 2, 3, 3] and found.tolist() == [0, 2, 1, 9, 0, 2]
    assert all(t.numel() == 0 for t in rows.expand(torch.tensor([4, 2])))
    assert all(t.numel() == 0 for t in rows.expand(torch.empty(0, dtype=torch.int64)))
