"""Several methods on the same cases: seconds of an epoch and memory of a worker beside each other.

an epoch    ceil(E / B) x mean of `balance.refresh` steps, one of them with new weights; validation is not in it
"""

from __future__ import annotations

from typing import Any

from bifair_dist.benchmark.growth import exponent

MIB = 2**20
Result = dict[str, Any]


def epoch_seconds(result: Result, refresh: int) -> float:
    """Seconds of an epoch from those of its steps; `refresh`: steps from one with new weights to the next."""
    case, both = result["case"], [result.get(f"{kind}_seconds") for kind in ("plain", "new_weights")]
    plain, weights = (next(s for s in order if s is not None) for order in (both, both[::-1]))
    steps = -(-case["pairs"] // case["batch"])
    return float(steps * (plain + (weights - plain) / refresh))


def by_method(results: list[Result]) -> dict[str, list[Result]]:
    """The results of a sweep by method, in the order in which they were asked for."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result["case"]["method"], []).append(result)
    return found


def side_by_side(name: str, results: list[Result]) -> list[str]:
    """One line for each size, with a pair of columns for each method; empty where there is one method."""
    methods = by_method(results)
    if len(methods) == 1:
        return []
    first, *others = methods
    heads = [f"{first}, s an epoch", "MiB"]
    heads += [cell for m in others for cell in (f"{m}, s an epoch", f"times {first}", "MiB", f"times {first}")]
    lines = [f"## {name}: methods side by side", "", f"| W | N | U | E | d | B | G | {' | '.join(heads)} |"]
    lines.append("|" + "---|" * (7 + len(heads)))
    for base, *more in zip(*methods.values(), strict=True):
        cells = [f"{base['case'][key]:,}" for key in ("workers", "items", "users", "pairs", "width", "batch", "groups")]
        cells += [_seconds(base["epoch_seconds"]), f"{base['peak_bytes'] / MIB:,.0f}"]
        for one in more:
            cells += [_seconds(one["epoch_seconds"]), f"{one['epoch_seconds'] / base['epoch_seconds']:.2f}"]
            cells += [f"{one['peak_bytes'] / MIB:,.0f}", f"{one['peak_bytes'] / base['peak_bytes']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, *_growth(methods, {"catalogue": "pairs"}.get(name, name)), ""]


def _growth(methods: dict[str, list[Result]], size: str) -> list[str]:
    told = []
    for method, results in methods.items():
        sizes = [r["case"].get(size, 1) for r in results]
        p, q = (exponent(sizes, [r[key] for r in results]) for key in ("epoch_seconds", "peak_bytes"))
        if p is not None and q is not None:
            told.append(f"{method} {p:.2f} (memory {q:.2f})")
    return ["", f"Exponents of an epoch's growth with {size}: {', '.join(told)}"] if told else []


def _seconds(seconds: float) -> str:
    return f"{seconds:,.2f}" if seconds < 10 else f"{seconds:,.0f}"
