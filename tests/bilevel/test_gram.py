"""The Gram matrix of the groups' gradients."""

from __future__ import annotations

import torch
from small_problems import small_step
from torch import Tensor

from bifair_dist.bilevel.gram import group_gram
from bifair_dist.bilevel.weights.balance import group_losses
from bifair_dist.model.projector import Theta


def problem() -> tuple[Theta, Tensor, list[Theta]]:
    """(theta, L_k, d_theta L_k), each group's loss and gradient by itself from the examples in it."""
    step, sampler = small_step()
    batch = sampler.batch(0, 0)
    example, group = step.membership.pairs(batch, 0, batch.size) if step.membership else (None, None)
    assert example is not None and group is not None
    losses, gradients = [], []
    for k in range(3):
        per_example = step.model.example_losses(step.theta, step.z, batch)
        loss = per_example[example[group == k]].mean()
        losses.append(loss.detach())
        gradients.append(dict(zip(step.theta, torch.autograd.grad(loss, list(step.theta.values())), strict=True)))
    return step.theta, torch.stack(losses), gradients


def function(scale: Tensor | float = 1.0) -> tuple[Theta, object]:
    step, sampler = small_step()
    batch = sampler.batch(0, 0)
    assert step.membership is not None
    pairs = step.membership.pairs(batch, 0, batch.size)
    counts = torch.bincount(pairs[1], minlength=3)

    def losses(theta: Theta) -> Tensor:
        return group_losses(step.model.example_losses(theta, step.z.detach(), batch) * scale, pairs, counts)

    return step.theta, losses


def test_entries_are_the_products_of_the_groups_own_gradients() -> None:
    _, expected, gradients = problem()
    theta, losses = function()
    found, gram = group_gram(losses, theta, lambda t: t, with_gram=True)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    assert gram is not None and gram.dtype == torch.float64
    for i in range(3):
        for j in range(3):
            dot = sum(float((gradients[i][n] * gradients[j][n]).sum()) for n in theta)
            assert abs(float(gram[i, j]) - dot) < 1e-13 * float(gram.abs().max())


def test_across_two_batches_rows_are_the_other_ones_gradients() -> None:
    """K_ij = g_i(other) . g_j, which says what a step along group i of the other batch does to loss j of this one."""
    step, sampler = small_step(seed=1)
    here, other = (step._group_losses(sampler.batch(0, s)) for s in (0, 1))
    losses, gram = group_gram(here, step.theta, lambda t: t, with_gram=True, across=other)
    assert gram is not None and float((gram - gram.T).abs().max()) > 1e-3 * float(gram.abs().max())
    theta = {n: t.detach().requires_grad_() for n, t in step.theta.items()}
    for i in range(3):
        g = torch.autograd.grad(other(theta)[i], list(theta.values()))
        lr = 1e-6
        ahead, behind = (
            here({n: t.detach() - sign * lr * d for (n, t), d in zip(theta.items(), g, strict=True)})
            for sign in (1, -1)
        )
        torch.testing.assert_close((behind - ahead) / (2 * lr), gram[i], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(losses, here(step.theta).detach())


def test_gradients_are_summed_before_they_are_multiplied() -> None:
    """Two places with half of the batch each. The mean of their own Gram matrices is another matrix."""
    half = (torch.arange(25) < 12).double()
    theta, whole = function()
    expected = group_gram(whole, theta, lambda t: t, with_gram=True)  # type: ignore[arg-type]
    sent: list[list[Tensor]] = []
    own = []
    for share in (half, 1 - half):
        sent.append([])

        def keep(t: Tensor) -> Tensor:
            sent[-1].append(t.clone())
            return t

        own.append(group_gram(function(share)[1], theta, keep, with_gram=True)[1])  # type: ignore[arg-type]
    sums = [a + b for a, b in zip(*sent, strict=True)]
    answers = iter(sums)
    losses, gram = group_gram(function(half)[1], theta, lambda t: next(answers), with_gram=True)  # type: ignore[arg-type]
    assert gram is not None and expected[1] is not None and own[0] is not None and own[1] is not None
    torch.testing.assert_close(losses, expected[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(gram, expected[1], rtol=1e-12, atol=1e-15)
    mean, total = (own[0] + own[1]) / 2, own[0] + own[1]
    assert float((mean - gram).norm() / gram.norm()) > 0.1
    assert float((total - gram).norm() / gram.norm()) > 0.1


def test_without_a_gram_matrix_no_graph_is_built() -> None:
    theta, losses = function()
    graphs = []

    def spy(t: Theta) -> Tensor:
        out: Tensor = losses(t)  # type: ignore[operator]
        graphs.append(out.requires_grad)
        return out

    found, gram = group_gram(spy, theta, lambda t: t, with_gram=False)
    assert gram is None and graphs == [False]
    torch.testing.assert_close(found, problem()[1], rtol=1e-13, atol=0)


def test_a_group_without_examples_has_a_row_of_zeros() -> None:
    step, sampler = small_step()
    batch = sampler.batch(0, 0)
    assert step.membership is not None
    example, group = step.membership.pairs(batch, 0, batch.size)
    pairs = (example[group != 1], group[group != 1])

    def losses(theta: Theta) -> Tensor:
        values = step.model.example_losses(theta, step.z.detach(), batch)
        return group_losses(values, pairs, torch.bincount(pairs[1], minlength=3))

    found, gram = group_gram(losses, step.theta, lambda t: t, with_gram=True)
    assert gram is not None and not gram[1].any() and not gram[:, 1].any() and float(found[1]) == 0.0
    assert (torch.diag(gram)[[0, 2]] > 0).all()
