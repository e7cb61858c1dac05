"""What is measured: one catalogue on some workers, and the sweeps that make several of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.settings import BenchmarkSettings
from bifair_dist.errors import UserError
from bifair_dist.settings import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """N, U, E, d, B and G on W workers, in the last phase of a method."""

    items: int
    users: int
    pairs: int
    width: int
    batch: int
    groups: int
    workers: int
    method: str = "bifair"


def sweeps(settings: BenchmarkSettings) -> dict[str, list[Case]]:
    """The cases of every sweep, all methods of a size in a row. Raises `UserError` for a size that is impossible."""
    scale, model = settings.scale, settings.model
    numbers = sorted(set(scale.workers))
    base = Case(
        items=scale.items,
        users=scale.users,
        pairs=scale.pairs,
        width=scale.width,
        batch=settings.training.batch_size,
        groups=scale.groups,
        workers=numbers[-1],
        method=settings.training.method,
    )
    found: dict[str, list[Case]] = {}
    for name in scale.sweeps:
        if name == "strong":
            found[name] = [replace(base, workers=w) for w in numbers]
        elif name == "weak":
            found[name] = [
                replace(base, workers=w, items=w * base.items, users=w * base.users, pairs=w * base.pairs)
                for w in numbers
            ]
        elif name == "catalogue":
            found[name] = [
                replace(base, items=f * base.items, users=f * base.users, pairs=f * base.pairs)
                for f in (1, *sorted(scale.factors))
            ]
        else:
            found[name] = [replace(base, **{name: f * getattr(base, name)}) for f in (1, *sorted(scale.factors))]
    for case in (case for cases in found.values() for case in cases):
        if 2 * case.pairs > case.items * case.users:
            raise UserError(
                f"scale.pairs: {case.pairs:,} distinct pairs of {case.users:,} users and {case.items:,} items take too "
                "long to draw; lower it to half of all pairs"
            )
        if case.workers > model.embedding_dim:
            raise UserError(
                f"scale.workers: {case.workers} workers, but each needs a column of the model's space, which has "
                f"{model.embedding_dim} (model.embedding_dim)"
            )
    methods = tuple(dict.fromkeys(scale.methods)) or (base.method,)
    return {name: [replace(case, method=m) for case in cases for m in methods] for name, cases in found.items()}


def settings_of(settings: BenchmarkSettings, case: Case) -> BenchmarkSettings:
    """The settings with the method and the batch of the case."""
    return override(settings, {"training.batch_size": case.batch, "training.method": case.method})
