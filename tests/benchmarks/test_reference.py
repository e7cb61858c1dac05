"""The yardstick of benchmarks/gpu.py computes the same function as the project's AlphaRec."""

from __future__ import annotations

import pytest
import torch

from benchmarks.alpharec_reference import Draw, Reference, published_hidden
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import build_graph
from bifair_dist.model.layout import Whole
from bifair_dist.model.projector import Theta, init_theta
from bifair_dist.parallel.sampler import BatchSampler

U, N, E, D = 23, 31, 190, 12


@pytest.mark.parametrize(("hidden", "layers", "tau"), [(published_hidden(D), 2, 0.15), (7, 3, 0.3)])
def test_loss_and_gradient_are_ours(hidden: int, layers: int, tau: float) -> None:
    rng = torch.Generator().manual_seed(1)
    # The last two users and items have no interactions.
    chosen = torch.randperm((U - 2) * (N - 2), generator=rng)[:E]
    user, item = chosen // (N - 2), chosen % (N - 2)
    z = torch.randn(N, D, generator=rng, dtype=torch.float64)
    theta: Theta = init_theta(D, hidden, 5, "mlp", 2, torch.float64)
    reference = Reference(user, item, U, z, theta, layers=layers, tau=tau, batch=17, negatives=6)

    sampler = BatchSampler(user, item, N, batch_size=17, negatives=6, shared=False, known=None, seed=3)
    batch = sampler.batch(0, 0)
    model = AlphaRec(build_graph(user, item, U, N, torch.float64), Whole(), layers, tau)
    ours = {name: t.clone().requires_grad_() for name, t in theta.items()}
    loss = model.example_losses(ours, z, batch).mean()
    loss.backward()

    expected = reference.loss(Draw(batch.users, batch.positives, batch.negatives))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    published = dict(reference.projector.named_parameters())
    for ours_name, name in {"w1": "0.weight", "b1": "0.bias", "w2": "2.weight", "b2": "2.bias"}.items():
        torch.testing.assert_close(ours[ours_name].grad, published[name].grad, rtol=1e-10, atol=1e-12)


def test_hidden_width_follows_the_published_multipliers() -> None:
    assert [published_hidden(d) for d in (384, 768, 3072, 4096)] == [8 * 384, 8 * 768, 3072 // 2, 4096 * 9 // 32]


def test_a_step_lowers_the_loss() -> None:
    rng = torch.Generator().manual_seed(4)
    chosen = torch.randperm(U * N, generator=rng)[:E]
    z = torch.randn(N, D, generator=rng)
    reference = Reference(chosen // N, chosen % N, U, z, init_theta(D, 96, 5, "mlp", 5), batch=64, negatives=8, lr=5e-3)
    draw = reference.draw()
    before = float(reference.loss(draw).detach())
    for _ in range(30):
        reference.step()
    assert float(reference.loss(draw).detach()) < before
