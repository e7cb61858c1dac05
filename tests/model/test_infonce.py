"""InfoNCE against cross entropy, masks, and the two forms of negatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.infonce import PooledInfoNce, info_nce, plain_info_nce


def rows(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_is_cross_entropy_with_the_positive_as_the_right_class(tau: float) -> None:
    u, plus, minus = rows(5, 4, seed=1), rows(5, 4, seed=2), rows(5, 7, 4, seed=3)
    scores = F.cosine_similarity(u.unsqueeze(1), torch.cat([plus.unsqueeze(1), minus], dim=1), dim=2) / tau
    expected = F.cross_entropy(scores, torch.zeros(5, dtype=torch.int64), reduction="none")
    torch.testing.assert_close(info_nce(u, plus, minus, None, tau), expected, rtol=1e-13, atol=0)


def test_shared_negatives_are_the_same_set_for_each_example() -> None:
    u, plus, pool = rows(5, 4, seed=1), rows(5, 4, seed=2), rows(7, 4, seed=3)
    masked = torch.rand(5, 7, generator=torch.Generator().manual_seed(4)) < 0.4
    for mask in (None, masked):
        shared = info_nce(u, plus, pool, mask, 0.2)
        own = info_nce(u, plus, pool.expand(5, 7, 4), mask, 0.2)
        torch.testing.assert_close(shared, own, rtol=1e-13, atol=0)


@pytest.mark.parametrize("masks", [False, True])
def test_the_written_out_gradient_is_that_of_the_plain_form(masks: bool) -> None:
    """Values, first and second derivatives; example 2 has no negative left."""
    inputs = [F.normalize(rows(n, 4, seed=s), dim=1).requires_grad_() for n, s in ((5, 1), (5, 2), (7, 3))]
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(4)) < 0.4
    mask[2] = True
    spread = rows(5, seed=5)

    def derivatives(function: Callable[..., Tensor]) -> list[Tensor]:
        loss = function(*inputs, mask if masks else None, 0.2)
        first = torch.autograd.grad(loss @ spread, inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([(g * g.detach().cos()).sum() for g in first]).sum(), inputs)
        return [loss, *torch.autograd.grad(function(*inputs, mask if masks else None, 0.2) @ spread, inputs), *second]

    for found, expected in zip(derivatives(PooledInfoNce.apply), derivatives(plain_info_nce), strict=True):
        assert expected.any()
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_only_the_gradients_asked_for() -> None:
    u, p, v = (F.normalize(rows(n, 4, seed=s), dim=1) for n, s in ((5, 1), (5, 2), (7, 3)))
    v.requires_grad_()
    expected = torch.autograd.grad(plain_info_nce(u, p, v, None, 0.2).sum(), v)[0]
    for again in (False, True):
        loss = PooledInfoNce.apply(u, p, v, None, 0.2).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, v, create_graph=again)[0], expected, rtol=1e-12, atol=0)


def test_masked_negatives_count_as_if_they_were_not_there() -> None:
    u, plus, pool = rows(3, 4, seed=1), rows(3, 4, seed=2), rows(6, 4, seed=3).requires_grad_()
    masked = torch.zeros(3, 6, dtype=torch.bool)
    masked[:, [1, 4]] = True
    loss = info_nce(u, plus, pool, masked, 0.2)
    torch.testing.assert_close(loss, info_nce(u, plus, pool[[0, 2, 3, 5]], None, 0.2), rtol=1e-13, atol=0)
    gradient = torch.autograd.grad(loss.sum(), pool)[0]
    assert gradient.isfinite().all() and not gradient[[1, 4]].any() and gradient[[0, 2, 3, 5]].any()


def test_without_negatives_the_loss_is_zero() -> None:
    u, plus, pool = rows(3, 4, seed=1).requires_grad_(), rows(3, 4, seed=2), rows(6, 4, seed=3)
    loss = info_nce(u, plus, pool, torch.ones(3, 6, dtype=torch.bool), 0.2)
    assert torch.equal(loss, torch.zeros(3, dtype=torch.float64))
    assert torch.autograd.grad(loss.sum(), u)[0].isfinite().all()


def test_equal_scores_give_log_of_the_number_of_candidates() -> None:
    u = rows(2, 4, seed=1)
    loss = info_nce(u, u, u[:1].expand(2, 3, 4) * 0 + u.unsqueeze(1), None, 0.01)
    torch.testing.assert_close(loss, torch.full((2,), 4.0, dtype=torch.float64).log())


def test_large_scores_do_not_overflow() -> None:
    u = rows(2, 4, seed=1).float()
    loss = info_nce(u, -u, u.unsqueeze(1), None, 1e-3)
    torch.testing.assert_close(loss, torch.full((2,), 2000.0))


def test_an_empty_slice_has_no_loss_and_a_gradient() -> None:
    """A worker with no example in a short batch must still take part in the backward pass."""
    u, pool = rows(0, 4, seed=1).requires_grad_(), rows(6, 4, seed=3).requires_grad_()
    loss = info_nce(u, u, pool, torch.zeros(0, 6, dtype=torch.bool), 0.2)
    assert loss.shape == (0,)
    assert not torch.autograd.grad(loss.sum(), pool)[0].any()
