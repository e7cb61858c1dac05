"""The projector's start and shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.model.projector import first, init_theta, second, widths


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_start_does_not_depend_on_the_dtype(kind: str) -> None:
    single, double = (init_theta(6, 5, 4, kind, 3, dtype) for dtype in (torch.float32, torch.float64))
    assert single.keys() == double.keys()
    for name, t in single.items():
        assert t.dtype == torch.float32 and torch.equal(t, double[name].float())


def test_start_depends_on_the_seed_alone() -> None:
    a = init_theta(6, 5, 4, "mlp", 3)
    torch.rand(5)
    b, c = init_theta(6, 5, 4, "mlp", 3), init_theta(6, 5, 4, "mlp", 4)
    assert all(torch.equal(a[n], b[n]) and not torch.equal(a[n], c[n]) for n in a)


def test_start_is_uniform_with_the_bound_of_a_linear_layer() -> None:
    theta = init_theta(400, 100, 64, "mlp", 0, torch.float64)
    for name, fan_in in {"w1": 400, "b1": 400, "w2": 100, "b2": 100}.items():
        bound = fan_in**-0.5
        assert float(theta[name].abs().max()) <= bound
        assert float(theta[name].std()) == pytest.approx(bound / 3**0.5, rel=0.2)


def test_widths_and_shapes() -> None:
    mlp, linear = init_theta(6, 5, 4, "mlp", 0), init_theta(6, 5, 4, "linear", 0)
    assert widths(mlp) == (6, 5, 4) and widths(linear) == (6, 4, 4)
    assert {n: tuple(t.shape) for n, t in mlp.items()} == {"w1": (5, 6), "b1": (5,), "w2": (4, 5), "b2": (4,)}
    assert {n: tuple(t.shape) for n, t in linear.items()} == {"w1": (4, 6)}


def test_mlp_is_two_linear_layers_with_a_leak_of_one_percent() -> None:
    theta = init_theta(6, 5, 4, "mlp", 0, torch.float64)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.LeakyReLU(0.01), torch.nn.Linear(5, 4)).double()
    net.load_state_dict(
        {"0.weight": theta["w1"], "0.bias": theta["b1"], "2.weight": theta["w2"], "2.bias": theta["b2"]}
    )
    x = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(second(theta, first(theta, x)), net(x), rtol=1e-13, atol=1e-15)


def test_second_layer_has_the_derivatives_of_its_plain_form() -> None:
    """First and second ones, of every input and of some."""
    theta = {n: t.requires_grad_() for n, t in init_theta(6, 5, 4, "mlp", 0, torch.float64).items()}
    h = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    inputs = [h, theta["b1"], theta["w2"], theta["b2"]]

    def plain(h: Tensor) -> Tensor:
        return F.leaky_relu(h + theta["b1"], 0.01) @ theta["w2"].T + theta["b2"]

    def derivatives(out: Tensor) -> list[Tensor]:
        value = (out**2).sin().sum()
        once = torch.autograd.grad(value, inputs, create_graph=True)
        twice = torch.autograd.grad(torch.stack([(g**2).sum() for g in once]).sum(), inputs)
        return [*once, *twice]

    for a, b in zip(derivatives(second(theta, h * 1)), derivatives(plain(h)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)
    for x in inputs:
        found, expected = (torch.autograd.grad(f.sin().sum(), x)[0] for f in (second(theta, h * 1), plain(h)))
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
