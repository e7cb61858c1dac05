"""AlphaRec against a dense implementation of its formulas: node outputs, losses, gradients in theta and Z."""

from __future__ import annotations

from dataclasses import replace

import dense_backbone as dense
import pytest
import torch
from dense_backbone import Problem, relative
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.model.graph import build_graph
from bifair_dist.model.layout import Whole
from bifair_dist.model.projector import Theta, init_theta
from bifair_dist.parallel.sampler import BatchSampler

# h <= d pools after the first layer, h > d before it.
SHAPES = {"after": (5, "mlp"), "at equal widths": (6, "mlp"), "before": (13, "mlp"), "linear": (0, "linear")}


def backbone(p: Problem, layers: int = 2) -> AlphaRec:
    return AlphaRec(build_graph(p.user, p.item, p.n_users, p.n_items, torch.float64), Whole(), layers, 0.2)


def make_theta(shape: str, d: int = 6, k: int = 4) -> Theta:
    hidden, kind = SHAPES[shape]
    return init_theta(d, hidden, k, kind, 1, torch.float64)


def make_batch(p: Problem, shared: bool, known: bool) -> Batch:
    pairs = Csr.of(p.user, p.item, p.n_users) if known else None
    return BatchSampler(
        p.user, p.item, p.n_items, batch_size=17, negatives=8, shared=shared, known=pairs, seed=4
    ).batch(0, 1)  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_losses_and_gradients(shape: str, shared: bool, known: bool, frozen: bool) -> None:
    p, theta = dense.problem(), make_theta(shape)
    batch, model = make_batch(p, shared, known), backbone(p)
    inputs = dense.user_means(p.adjacency, p.z) if frozen else None
    z = p.z * 1.3 + 0.1  # not what the frozen inputs were made of
    variables = [z.requires_grad_(), *(t.requires_grad_() for t in theta.values())]

    ours = replace(model, user_inputs=inputs).example_losses(theta, z, batch)
    users, items = dense.nodes(p, theta, z, 2, inputs)
    theirs = dense.losses(users, items, batch, 0.2, p.adjacency.bool() if known else None)

    assert relative(ours, theirs) < 1e-12
    spread = torch.randn(len(ours), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours @ spread, variables), torch.autograd.grad(theirs @ spread, variables), strict=True
    ):
        assert float(b.norm()) > 1e-6
        assert relative(a, b) < 1e-11


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_node_outputs(shape: str, layers: int) -> None:
    p, theta = dense.problem(3), make_theta(shape)
    ours = backbone(p, layers).node_rows(theta, p.z)
    for a, b in zip(ours, dense.nodes(p, theta, p.z, layers), strict=True):
        assert relative(a, b) < 1e-13


def test_pooling_stands_on_either_side_of_the_first_layer() -> None:
    p, theta = dense.problem(), make_theta("after")
    model = backbone(p)
    before = model.pooled(p.z) @ theta["w1"].T
    after = model.pooled(p.z @ theta["w1"].T)
    assert relative(before, after) < 1e-13
    assert relative(model.pooled(p.z), dense.user_means(p.adjacency, p.z)) < 1e-14


def test_frozen_users_do_not_follow_z() -> None:
    p, theta = dense.problem(), make_theta("after")
    model = backbone(p)
    frozen = replace(model, user_inputs=model.pooled(p.z), layers=0)
    moved = p.z + 1.0
    assert torch.equal(frozen.node_rows(theta, moved)[0], frozen.node_rows(theta, p.z)[0])
    assert not torch.allclose(frozen.node_rows(theta, moved)[1], frozen.node_rows(theta, p.z)[1])
    assert relative(frozen.node_rows(theta, p.z)[0], replace(model, layers=0).node_rows(theta, p.z)[0]) < 1e-13


def relabelled(p: Problem, users: Tensor, items: Tensor) -> Problem:
    """Node j of the new problem is node users[j], items[j] of the old one."""
    new_user, new_item = torch.argsort(users), torch.argsort(items)
    order = torch.randperm(len(p.user), generator=torch.Generator().manual_seed(9))
    return Problem(new_user[p.user][order], new_item[p.item][order], p.n_users, p.n_items, p.z[items])


@pytest.mark.parametrize("shape", ["after", "before", "linear"])
def test_relabelling_nodes_relabels_the_outputs(shape: str) -> None:
    p, theta, rng = dense.problem(5), make_theta(shape), torch.Generator().manual_seed(6)
    users, items = torch.randperm(p.n_users, generator=rng), torch.randperm(p.n_items, generator=rng)
    q = relabelled(p, users, items)
    before, after = backbone(p).node_rows(theta, p.z), backbone(q).node_rows(theta, q.z)
    assert relative(after[0], before[0][users]) < 1e-13
    assert relative(after[1], before[1][items]) < 1e-13
    batch = make_batch(p, True, False)
    new_user, new_item = torch.argsort(users), torch.argsort(items)
    renamed = Batch(new_user[batch.users], new_item[batch.positives], new_item[batch.negatives], None, batch.slices)
    assert relative(
        backbone(q).example_losses(theta, q.z, renamed), backbone(p).example_losses(theta, p.z, batch)
    ) < 1e-12  # fmt: skip


def test_loss_does_not_see_the_length_of_the_outputs() -> None:
    """Cosine scores: scaling the linear projector changes nothing."""
    p, theta = dense.problem(), make_theta("linear")
    batch, model = make_batch(p, True, False), backbone(p)
    scaled = {"w1": theta["w1"] * 7}
    assert relative(model.example_losses(scaled, p.z, batch), model.example_losses(theta, p.z, batch)) < 1e-12
