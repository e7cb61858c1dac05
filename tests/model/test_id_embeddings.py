"""MF and LightGCN on id embeddings against dense matrices and explicit sums, in float64."""

from __future__ import annotations

import math

import dense_backbone as dense
import pytest
import torch
from dense_backbone import Problem, relative
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch
from bifair_dist.model.bpr import bpr
from bifair_dist.model.graph import build_graph
from bifair_dist.model.id_embeddings import IdEmbeddings
from bifair_dist.model.layout import Whole
from bifair_dist.parallel.comm import Comm, row_range
from bifair_dist.parallel.sampler import BatchSampler
from bifair_dist.training.id_rows import BLOCK, first_rows


def batch_of(p: Problem, shared: bool, known: bool) -> Batch:
    pairs = Csr.of(p.user, p.item, p.n_users) if known else None
    return BatchSampler(
        p.user, p.item, p.n_items, batch_size=17, negatives=8, shared=shared, known=pairs, seed=4
    ).batch(0, 1)  # fmt: skip


def slow_bpr(users: Tensor, items: Tensor, batch: Batch, known: Tensor | None) -> Tensor:
    """One example and one negative at a time."""
    out = []
    for b in range(batch.size):
        u, plus = users[batch.users[b]], items[batch.positives[b]]
        negatives = batch.negatives if batch.negatives.dim() == 1 else batch.negatives[b]
        kept = [j for j in negatives.tolist() if known is None or not known[batch.users[b], j]]
        terms = [-torch.log(1 / (1 + torch.exp(-(u @ plus - u @ items[j])))) for j in kept]
        out.append(sum(terms, torch.zeros((), dtype=torch.float64)) / max(len(kept), 1))
    return torch.stack(out)


def slow_squares(users: Tensor, items: Tensor, batch: Batch) -> Tensor:
    out = []
    for b in range(batch.size):
        negatives = batch.negatives if batch.negatives.dim() == 1 else batch.negatives[b]
        minus = torch.stack([(items[j] ** 2).sum() for j in negatives]).mean()
        out.append((users[batch.users[b]] ** 2).sum() + (items[batch.positives[b]] ** 2).sum() + minus)
    return torch.stack(out)


@pytest.mark.parametrize("loss", ["bpr", "info_nce"])
@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize(("shared", "known"), [(True, True), (False, True), (False, False)])
def test_losses_and_gradients(loss: str, layers: int, shared: bool, known: bool) -> None:
    p = dense.problem()
    batch, r = batch_of(p, shared, known), p.adjacency
    graph = build_graph(p.user, p.item, p.n_users, p.n_items, torch.float64)
    model = IdEmbeddings(graph, Whole(), layers, loss, tau=0.2, l2=0.03)  # type: ignore[arg-type]
    e = torch.randn(p.n_items + p.n_users, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    e.requires_grad_()

    ours = model.example_losses({}, e, batch)
    own_users, own_items = e[p.n_items :], e[: p.n_items]
    outputs = dense.propagate(r, torch.cat([own_users, own_items]), layers)
    users, items = outputs[: p.n_users], outputs[p.n_users :]
    mask = r.bool() if known else None
    theirs = slow_bpr(users, items, batch, mask) if loss == "bpr" else dense.losses(users, items, batch, 0.2, mask)
    theirs = theirs + 0.015 * slow_squares(own_users, own_items, batch)

    assert relative(ours, theirs) < 1e-12
    spread = torch.randn(len(ours), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    a, b = (torch.autograd.grad(x @ spread, e)[0] for x in (ours, theirs))
    assert relative(a, b) < 1e-11
    assert all(relative(x, y) < 1e-13 for x, y in zip(model.node_rows({}, e), (users, items), strict=True))
    scores = torch.einsum("uk,ik->ui", *model.ranking_rows({}, e))
    wanted = users @ items.T if loss == "bpr" else torch.cosine_similarity(users[:, None], items[None], dim=2)
    assert relative(scores, wanted) < 1e-12


def test_bpr_known_answer() -> None:
    """Equal scores give log 2; a lead of log 3 gives log(4/3); an example without negatives left costs nothing."""
    u = torch.ones(3, 1, dtype=torch.float64)
    plus = torch.tensor([[0.0], [math.log(3)], [0.0]], dtype=torch.float64)
    minus = torch.zeros(2, 1, dtype=torch.float64)
    masked = torch.tensor([[False, False], [False, True], [True, True]])
    assert bpr(u, plus, minus, masked).tolist() == pytest.approx([math.log(2), math.log(4 / 3), 0.0], rel=1e-14)


def test_first_rows_do_not_depend_on_the_number_of_workers() -> None:
    items, users, k = BLOCK + 300, BLOCK - 223, 3
    n = items + users
    whole = first_rows(items, users, k, Comm(), 5, torch.float64)
    assert float(whole[:items].std()) == pytest.approx((2 / (items + k)) ** 0.5, rel=0.02)
    assert float(whole[items:].std()) == pytest.approx((2 / (users + k)) ** 0.5, rel=0.02)
    assert not torch.equal(whole, first_rows(items, users, k, Comm(), 6, torch.float64))
    assert len(torch.unique(whole)) == whole.numel()  # no block is drawn twice
    for size in (2, 3, 5):
        parts = []
        for rank in range(size):
            comm = Comm()
            comm.rank, comm.size = rank, size
            start, stop = row_range(n, size, rank)
            rows = first_rows(items, users, k, comm, 5, torch.float64)
            assert not rows[stop - start :].any()
            parts.append(rows[: stop - start])
        assert torch.equal(torch.cat(parts), whole)
