"""Results as markdown: a table for each sweep, where the seconds of a step go, bytes by collective."""

from __future__ import annotations

from typing import Any

from bifair_dist.benchmark.compared import by_method, side_by_side
from bifair_dist.benchmark.growth import exponent
from bifair_dist.benchmark.measure import Result, by

MIB = 2**20


def report(record: list[str], sweeps: dict[str, list[Result]]) -> str:
    """All tables. `record`: lines on commit and hardware."""
    lines = ["# Benchmark of training steps", "", *record, ""]
    for name, results in sweeps.items():
        methods = by_method(results)
        for method, own in methods.items():
            lines += [*_sweep(name, own, f", {method}" if len(methods) > 1 else ""), ""]
        lines += side_by_side(name, results)
    one = largest(sweeps)
    return "\n".join([*lines, *_step(one), "", *_bytes(one)]) + "\n"


def largest(sweeps: dict[str, list[Result]]) -> Result:
    """The case with the most numbers in Z among those on the most workers, of the method named last."""
    results = [r for found in sweeps.values() for r in reversed(found)]
    return max(
        results, key=lambda r: (r["case"]["workers"], r["case"]["items"] * r["case"]["width"], r["case"]["pairs"])
    )


def others(whole: dict[str, Any]) -> str:
    """Reading and embedding, where they were measured."""
    lines = []
    if read := whole.get("reading"):
        lines += ["## Reading, smallest case", "", "| | MB | s | its bytes alone, s |", "|---|---|---|---|"]
        for name, r in read.items():
            lines.append(f"| {name} | {r['bytes'] / 1e6:,.1f} | {r['seconds']:.3f} | {r['bound']:.3f} |")
    if job := whole.get("embedding"):
        lines += ["", f"## Embedding job, {job['model']} on {job['engine']}", "", "| | |", "|---|---|"]
        lines += [
            f"| {name.replace('_', ' ')} | {value:,.1f} |" for name, value in job.items() if not isinstance(value, str)
        ]
    return "\n".join(lines) + "\n" if lines else ""


def _sweep(name: str, results: list[Result], of: str) -> list[str]:
    """One line for each case; the ratio is to the first."""
    lines = [
        f"## {name}{of}",
        "",
        "| W | N | U | E | d | B | G | step, ms | bound | planned | times the first | with new weights, ms | sent, MB "
        "| peak, MiB | planned | users ranked a second | bound | set-up, s | start, s |",
        "|" + "---|" * 19,
    ]
    first = plain(results[0])
    for result in results:
        case = result["case"]
        sizes = [case[key] for key in ("workers", "items", "users", "pairs", "width", "batch", "groups")]
        weights = result.get("new_weights_seconds")
        cells = [
            *(f"{size:,}" for size in sizes), _ms(plain(result)), _ms(sum(bound(result).values())),
            _ms(result.get("planned_seconds")), f"{plain(result) / first:.2f}",
            _ms(weights), f"{sum(sent(result).values()) / 1e6:,.1f}",
            f"{result['peak_bytes'] / MIB:,.0f}", f"{result['memory_plan'] / MIB:,.0f}",
            f"{result['ranked_users_per_second']:,.0f}", f"{result['ranked_bound']:,.0f}",
            f"{result['set_up_seconds']:.1f}", f"{result['start_seconds'] or 0:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    size = {"catalogue": "pairs"}.get(name, name)
    if size in results[0]["case"]:
        sizes = [result["case"][size] for result in results]
        found = {
            "step": exponent(sizes, [plain(r) for r in results]),
            "bound": exponent(sizes, [sum(bound(r).values()) for r in results]),
            "peak memory": exponent(sizes, [r["peak_bytes"] for r in results]),
        }
        told = ", ".join(f"{what} {p:.2f}" for what, p in found.items() if p is not None)
        lines += ["", f"Exponents of growth (least squares over logarithms): {told}"] if told else []
    return lines


def _step(result: Result) -> list[str]:
    """Seconds by pass and operation, of steps with and without new weights."""
    lines = [f"## A step, {_told(result)}", ""]
    for kind in ("plain", "new_weights"):
        if f"{kind}_parts" not in result:
            continue
        parts = result[f"{kind}_parts"]
        passes, operations = by(parts, 0), by(parts, 1)
        cell = {(p, o): s for p, o, s in parts}
        whole = sum(passes.values())
        title = "With" if kind == "new_weights" else "Without"
        lines += [
            f"{title} new weights, {1e3 * whole:,.1f} ms; ms by pass and operation:",
            "",
            f"| pass | {' | '.join(operations)} | sum | share |",
            "|---|" + "---|" * (len(operations) + 2),
        ]
        for name, total in passes.items():
            cells = [f"{1e3 * cell[name, o]:.1f}" if (name, o) in cell else "" for o in operations]
            lines.append(f"| {name} | {' | '.join(cells)} | {1e3 * total:.1f} | {total / whole:.0%} |")
        sums = " | ".join(f"{1e3 * s:.1f}" for s in operations.values())
        lines += [f"| sum | {sums} | {1e3 * whole:.1f} | |", ""]
    return lines[:-1]


def _bytes(result: Result) -> list[str]:
    lines = [f"## Bytes of a step by collective, {_told(result)}", ""]
    lines += ["| collective | without new weights, MB (calls) | with |", "|---|---|---|"]
    kinds = [kind for kind in ("plain", "new_weights") if f"{kind}_sent" in result]
    tags = dict.fromkeys(tag for kind in kinds for tag in result[f"{kind}_sent"])
    for tag in tags:
        cells = {
            kind: f"{result[f'{kind}_sent'].get(tag, 0) / 1e6:,.2f} ({result[f'{kind}_calls'].get(tag, 0)})"
            for kind in kinds
        }
        lines.append(f"| {tag} | {cells.get('plain', '')} | {cells.get('new_weights', '')} |")
    return lines if tags else [*lines[:2], "nothing: one worker"]


def plain(result: Result) -> float:
    """Seconds of a step without new weights; with, where there is no other."""
    seconds: Any = result.get("plain_seconds", result.get("new_weights_seconds"))
    return float(seconds)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.0f}"


def bound(result: Result) -> dict[str, float]:
    """Seconds by operation that the step of `plain` takes at least."""
    found: Any = result.get("plain_bound", result.get("new_weights_bound"))
    return dict(found)


def sent(result: Result) -> dict[str, int]:
    """Bytes by collective of the same step."""
    found: Any = result.get("plain_sent", result.get("new_weights_sent"))
    return dict(found)


def _told(result: Result) -> str:
    case = result["case"]
    return f"N = {case['items']:,}, d = {case['width']:,}, E = {case['pairs']:,}, W = {case['workers']}"
