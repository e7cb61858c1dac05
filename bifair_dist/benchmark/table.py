"""Results as markdown: a table for each sweep, where the seconds of a step go, bytes by collective."""

from __future__ import annotations

from typing import Any

from bifair_dist.benchmark.measure import Result, by

MIB = 2**20


def report(record: list[str], sweeps: dict[str, list[Result]]) -> str:
    """All tables. `record`: lines on commit and hardware."""
    lines = ["# Benchmark of training steps", "", *record, ""]
    for name, results in sweeps.items():
        lines += [*_sweep(name, results), ""]
    largest = max((r for results in sweeps.values() for r in results), key=lambda r: r["case"]["workers"])
    return "\n".join([*lines, *_step(largest), "", *_bytes(largest)]) + "\n"


def _sweep(name: str, results: list[Result]) -> list[str]:
    """One line for each case; the ratio is to the first."""
    lines = [
        f"## {name}",
        "",
        "| W | N | U | E | d | B | G | step, ms | planned | times the first | with new weights, ms | sent, MB | "
        "peak, MiB | users ranked a second | set-up, s |",
        "|" + "---|" * 15,
    ]
    first = _plain(results[0])
    for result in results:
        case = result["case"]
        sizes = [case[key] for key in ("workers", "items", "users", "pairs", "width", "batch", "groups")]
        weights = result.get("new_weights_seconds")
        cells = [
            *(f"{size:,}" for size in sizes), _ms(_plain(result)), _ms(result.get("planned_seconds")),
            f"{_plain(result) / first:.2f}",
            _ms(weights), f"{sum(_sent(result).values()) / 1e6:,.1f}",
            f"{result['peak_bytes'] / MIB:,.0f}", f"{result['ranked_users_per_second']:,.0f}",
            f"{result['set_up_seconds']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
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


def _plain(result: Result) -> float:
    seconds: Any = result.get("plain_seconds", result.get("new_weights_seconds"))
    return float(seconds)


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.0f}"


def _sent(result: Result) -> dict[str, int]:
    sent: Any = result.get("plain_sent", result.get("new_weights_sent"))
    return dict(sent)


def _told(result: Result) -> str:
    case = result["case"]
    return f"N = {case['items']:,}, d = {case['width']:,}, E = {case['pairs']:,}, W = {case['workers']}"
