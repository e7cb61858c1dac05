"""bfloat16 in the inner and outer passes, and perturbations that a number format would swallow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_problems import norm, relative
from torch import Tensor

from benchmarks.catalogue import synthetic_pairs, unit_rows
from benchmarks.problem import make_problem, make_step
from bifair_dist.bilevel.finite_difference import least_eps, z_gradient
from bifair_dist.bilevel.hypergradient import step as moved
from bifair_dist.bilevel.settings import BilevelSettings
from bifair_dist.bilevel.step import BilevelStep, StepRecord
from bifair_dist.errors import UserError
from bifair_dist.model.batch import Batch
from bifair_dist.model.projector import init_theta
from bifair_dist.model.settings import ModelSettings
from bifair_dist.parallel.comm import Comm
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.training_settings import TrainingSettings

PAIRS = synthetic_pairs(60, 40, 400)


def problem(
    precision: Any, hidden: int = 24, dtype: Any = "float32", epoch: int = 0, **bilevel: Any
) -> tuple[BilevelStep, Batch]:
    settings = TrainSettings(
        model=ModelSettings(hidden=hidden, embedding_dim=8, num_negatives=10, dtype=dtype),
        training=TrainingSettings(method="bifair", batch_size=100, precision=precision),
        bilevel=BilevelSettings(**bilevel),
    )
    z = unit_rows(40, 16, 1).to(torch.float64 if dtype == "float64" else torch.float32)
    step, sampler = make_step(make_problem(PAIRS, settings, Comm()), z)
    return step, sampler.batch(epoch, 0)


def one(step: BilevelStep, batch: Batch) -> StepRecord:
    return step(0, batch, lambda: batch)


@pytest.mark.parametrize("hidden", [12, 24])  # pooling on either side of the first layer
def test_bf16_is_near_and_not_the_same(hidden: int) -> None:
    """Over eight batches: one in which bf16 puts a unit on the other side of its kink is off by more than rounding."""
    errors = []
    for epoch in range(8):
        full, low = (one(*problem(p, hidden, epoch=epoch)) for p in ("full", "bf16"))
        assert full.g_z is not None and low.g_z is not None and low.g_z.dtype == torch.float32
        assert all(low.g_theta[name].dtype == torch.float32 for name in full.g_theta)
        errors.append([relative(low.g_z, full.g_z), *(relative(low.g_theta[n], g) for n, g in full.g_theta.items())])
        assert float(low.loss) == pytest.approx(float(full.loss), rel=5e-3)
    assert torch.tensor(errors).min() > 1e-5 and torch.tensor(errors).median(0).values.max() < 0.05


def test_perturbed_passes_weights_and_ranking_stay_full() -> None:
    """The same bits as without bf16."""

    def values(step: BilevelStep, batch: Batch) -> list[Tensor]:
        gradient = z_gradient(step.loss(step.model, batch, step.coefficients(batch)), step.theta, step.z)
        record = StepRecord(torch.zeros(()))
        step.refresh_weights(batch, record)
        assert record.gram is not None
        return [gradient, record.gram, *step.model.ranking_rows(step.theta, step.z)]

    for found, expected in zip(values(*problem("bf16")), values(*problem("full")), strict=True):
        assert torch.equal(found, expected)


def test_loss_and_propagation_are_not_cast() -> None:
    step, batch = problem("bf16")
    outputs = step.outer_model.node_rows(step.theta, step.z)
    assert all(t.dtype == torch.float32 for t in outputs)
    assert step.outer_model.example_losses(step.theta, step.z, batch).dtype == torch.float32


def test_exact_hypergradient_under_bf16() -> None:
    full, low = (one(*problem(p, hypergradient="exact", xi=0.1)) for p in ("full", "bf16"))
    assert full.g_z is not None and low.g_z is not None and 1e-5 < relative(low.g_z, full.g_z) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_least_eps_is_where_theta_stops_moving(dtype: torch.dtype) -> None:
    theta = init_theta(384, 256, 64, "mlp", 0, dtype)
    v = init_theta(384, 256, 64, "mlp", 1, dtype)

    def share(eps: float) -> float:
        plus = moved(theta, v, eps / norm(v))
        entries = sum(t.numel() for t in theta.values())
        return sum(int((plus[n] != t).sum()) for n, t in theta.items()) / entries

    least = least_eps(theta)
    assert share(least) < 0.15 and share(100 * least) > 0.9 and share(least / 100) < 0.01


def test_a_perturbation_that_vanishes_is_refused() -> None:
    with pytest.raises(UserError, match=r"bilevel.eps: 1e-08 is lost in the rounding of float32.*above"):
        problem("full", eps=1e-8)
    problem("full", dtype="float64", eps=1e-8)
    problem("full", eps=1e-8, xi=0.0)  # nothing is perturbed
    problem("full", eps=1e-8, hypergradient="exact")
    problem("bf16", eps=1e-6)  # the perturbed passes are full: bf16 does not ask for a longer step


def test_bf16_of_float64_is_refused() -> None:
    with pytest.raises(UserError, match=r"training.precision: bf16 has no place in a training in float64"):
        problem("bf16", dtype="float64")
