"""The finite difference against the exact hypergradient, at a state of a run: what `jobs/check.py hypergradient` shows.

Runs in one process, without Ray. Both number formats start from the same float32 state, batch and negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bifair_dist.bilevel.accuracy import EPS_GRID, Accuracy, Point, Reference, accuracy, crossed_kinks, reference
from bifair_dist.bilevel.step import StepRecord
from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.projector import Theta, first, widths
from bifair_dist.parallel.comm import Comm
from bifair_dist.settings import override
from bifair_dist.training.folds import Folds
from bifair_dist.training.phases import Phase, phases_of
from bifair_dist.training.problem import Problem, load_problem
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.steps import State, build_step, epoch_key, outer_batch

NOISE = 1e-12  # a share of sign changes below this is none


@dataclass(frozen=True, slots=True)
class HypergradientCheck:
    """Rows of the table, in the order of `EPS_GRID`. `kinks` is None for a projector without an activation."""

    exact: Reference
    single: list[Accuracy]
    double: list[Accuracy]
    kinks: list[float] | None
    about: str

    @property
    def best(self) -> Accuracy:
        """The eps whose second-order term is closest to the exact one in float32."""
        return min(self.single, key=lambda row: row.second.error)


def check_hypergradient(settings: TrainSettings) -> HypergradientCheck:
    """Measure at the state that the bi-level phase of `settings` starts from, on its first batch.

    `settings` has absolute paths, as `launch.with_data` returns them. Raises `UserError` where the method has no
    bi-level phase.
    """
    torch.set_num_threads(settings.cluster.threads)
    settings = override(settings, {"model.dtype": "float32"})
    phase = next((p for p in phases_of(settings) if p.train_theta and p.train_z), None)
    if phase is None:
        raise UserError(f"training.method {settings.training.method} has no bi-level phase; check bifair")
    wide = override(settings, {"model.dtype": "float64"})
    problem = load_problem(wide, Comm(), torch.device("cpu"))
    state = _state(problem)
    # Both formats start from what float32 can hold; else the error would show the rounding of the state.
    start = State({name: t.float() for name, t in state.theta.items()}, state.z.float())
    point, model = _point(problem, _as(start, torch.float64), phase)
    exact = reference(point, xi=settings.bilevel.xi)
    double = accuracy(point, exact)
    active = _active(model, point.z)
    kinks = None
    if active is not None and "w2" in point.theta:
        kinks = [crossed_kinks(active, point.theta, exact, eps) for eps in EPS_GRID]
    del problem, point
    narrow, _ = _point(load_problem(settings, Comm(), torch.device("cpu")), start, phase)
    return HypergradientCheck(exact, accuracy(narrow, exact), double, kinks, _about(settings, start))


def table(check: HypergradientCheck, settings: TrainSettings) -> str:
    """The report for a person, the table in Markdown."""
    exact, best = check.exact, check.best
    lines = [
        check.about,
        f"||v|| = {exact.v_norm:.4g} (d_theta L_out); first-order term ||d_Z L_out|| = {exact.first_norm:.4g}; "
        f"second-order term ||s|| = {float(exact.second.norm()):.4g}",
        f"with bilevel.xi = {exact.xi:g} the second-order term is {exact.share:.2g} times the first-order one"
        + (": its error hardly reaches g_Z" if exact.share < 0.1 else ": its error reaches g_Z"),
        "",
        "| eps | e = eps/‖v‖ | units across a kink | s fp32: error | cosine | s fp64: error | cosine "
        "| g_Z fp32: error | cosine | g_Z fp64: error | cosine |",
        "|" + "---:|" * 11,
    ]
    for i, (single, double) in enumerate(zip(check.single, check.double, strict=True)):
        cells = [f"{single.eps:.0e}", f"{single.eps / exact.v_norm:.1e}"]
        cells.append("-" if check.kinks is None else f"{100 * check.kinks[i]:.4f} %")
        for part in (single.second, double.second, single.whole, double.whole):
            cells += [f"{part.error:.1e}", f"{part.cosine:.6f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"best eps in fp32: {best.eps:.0e} (error of the second-order term {best.second.error:.1e})"]
    lines += [note] if (note := kink_note(check)) else []
    asked = settings.bilevel.eps
    nearest = min(check.single, key=lambda row: abs(row.eps - asked))
    lines.append(f"bilevel.eps is {asked:g}: error {nearest.second.error:.1e} at the grid's {nearest.eps:.0e}")
    return "\n".join(lines)


def kink_note(check: HypergradientCheck) -> str:
    """One line on LeakyReLU's kinks, where the float64 rows show them: much better without a crossing than with."""
    if check.kinks is None:
        return ""
    rows = list(zip(check.double, check.kinks, strict=True))
    across = [r.second.error for r, share in rows if share > NOISE]
    free = [r for r, share in rows if share <= NOISE]
    if not across or not free or min(across) < 10 * min(r.second.error for r in free):
        return ""
    clean = min(free, key=lambda r: r.second.error)
    return (
        f"LeakyReLU kinks: even the best step that crosses any leaves an error of {min(across):.1e} in fp64, the first "
        f"that crosses none ({free[0].eps:.0e}) {free[0].second.error:.1e}, the best {clean.second.error:.1e}: the "
        "exact term is the derivative on one linear piece, a longer step also sees the gradient's jumps at the kinks"
    )


def _state(problem: Problem) -> State:
    z = problem.first_z()
    return State(problem.first_theta(z.shape[1]), z)


def _as(state: State, dtype: torch.dtype) -> State:
    return State({name: t.to(dtype) for name, t in state.theta.items()}, state.z.to(dtype))


def _point(problem: Problem, state: State, phase: Phase) -> tuple[Point, AlphaRec]:
    """The losses of the phase's first step at `state`, with the weights that the step would use."""
    if problem.settings.model.users == "frozen":
        problem = problem.with_fixed_users(state.z)
    if problem.settings.folded:
        problem = Folds(problem, problem.fixed_from).in_epoch(0)
    step = build_step(phase, problem, state)
    batch = problem.sampler.batch(epoch_key(0, phase), 0)
    outer = outer_batch(problem, batch, 0, 0, phase)
    if step.balance is not None and step.balance.due(0):
        step.refresh_weights(outer if step.weighs_outer else batch, StepRecord(torch.zeros(())))
    a = step.coefficients(batch)
    outer_loss = step.loss(step.outer_model, outer, a if outer is batch else step.coefficients(outer))
    assert isinstance(step.model, AlphaRec)  # the only one with a bi-level phase
    return Point(step.loss(step.model, batch, a), outer_loss, state.theta, state.z.detach()), step.model


def _active(model: AlphaRec, z: Tensor) -> Callable[[Theta], Tensor] | None:
    """theta -> which hidden units are on the positive side, of all items and users, [N + U, h]."""
    with torch.no_grad():
        users = model.pooled(z) if model.user_inputs is None else model.user_inputs
        rows = torch.cat([z, users])

    @torch.no_grad()
    def active(theta: Theta) -> Tensor:
        return first(theta, rows) + theta["b1"] > 0

    return active


def _about(settings: TrainSettings, state: State) -> str:
    balance, training = settings.balance, settings.training
    start = training.warm_start
    at = f"the trained state of {Path(start).name}" if start else "the initial projector (no --training.warm_start)"
    return (
        f"{Path(settings.data.dataset).name}: {' -> '.join(map(str, widths(state.theta)))}, {balance.rule} over "
        f"{balance.group} at {balance.fairness_strength:g}, outer data {settings.outer_data}, users "
        f"{settings.model.users}, seed {training.seed}; measured at {at}"
    )
