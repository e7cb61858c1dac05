"""The content of a benchmark's page, written as Markdown (tables) and as HTML (tables and figures).

Each measurement stands beside its bound. The largest case has its step by pass and operation, and its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.figures import bars_figure, growth_figure
from benchmarks.measure import Result
from benchmarks.parts import OTHER, by
from benchmarks.record import table
from bifair_dist.report.page import Part, rendered

TITLE = "Benchmark of training steps"
KINDS = {"plain": "without new weights", "new_weights": "with new weights"}
SIZES = {"workers": "W", "items": "N", "users": "U", "pairs": "E", "width": "d", "batch": "B", "groups": "G"}
GROWS = {
    "strong": ("workers", "workers, one catalogue"),
    "weak": ("workers", "workers, a catalogue that grows with them"),
    "catalogue": ("pairs", "training pairs, E; items and users grow with them"),
    "items": ("items", "items, N"),
    "width": ("width", "columns of the item vectors, d"),
    "pairs": ("pairs", "training pairs, E"),
    "batch": ("batch", "examples of a batch, B"),
    "groups": ("groups", "groups, G"),
}
"""By sweep: the size that grows, and its axis."""
MIB = 2**20
BOUNDS = (
    "Bounds are made of rates that the same workers reached in the same run: the matrix products at that rate, or the "
    "bytes at that bandwidth, whichever takes longer, part by part; only what runs from the cache can be faster."
)


def markdown(whole: dict[str, Any]) -> str:
    """`whole` (keys about, sweeps; reading and embedding where measured) as tables."""
    lines = [f"# {TITLE}", "", *whole["about"], ""]
    for part in sections(whole):
        lines += [f"## {part.title}", "", *(line + "\n" for line in part.text)]
        lines += [*table(part.head, part.rows), ""] if part.rows else []
    return "\n".join(lines)


def page(whole: dict[str, Any]) -> str:
    """The same as HTML, with figures."""
    about = [line.removeprefix("- ") for line in whole["about"]]
    parts = [Part("", text=[BOUNDS]), *sections(whole)]
    return rendered("parts.html.jinja", title=TITLE, lead=[], about=about, parts=parts)


def sections(whole: dict[str, Any]) -> list[Part]:
    """Everything, in order."""
    sweeps: dict[str, list[Result]] = whole["sweeps"]
    found: list[Part] = []
    for name, results in sweeps.items():
        methods = by_method(results)
        found += [_sweep(name, own, f", {m}" if len(methods) > 1 else "") for m, own in methods.items()]
        found += [_side_by_side(name, methods)] if len(methods) > 1 else []
    one = largest(sweeps)
    found += [_step(one, kind) for kind in KINDS if f"{kind}_parts" in one]
    return [*found, _bytes(one), *_files(whole)]


def by_method(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of a sweep by method, in the order in which they were asked for."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result["case"]["method"], []).append(result)
    return found


def largest(sweeps: dict[str, list[Result]]) -> Result:
    """The case with the most numbers in Z among those on the most workers, of the method named last."""
    results = [r for found in sweeps.values() for r in reversed(found)]
    return max(
        results, key=lambda r: (r["case"]["workers"], r["case"]["items"] * r["case"]["width"], r["case"]["pairs"])
    )


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """p of values ~ size^p, the least squares line over logarithms; None where there are not two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def plain(result: Result, what: str = "seconds") -> Any:
    """A figure of a step without new weights; with, where there is no other."""
    return result.get(f"plain_{what}", result.get(f"new_weights_{what}"))


def _sweep(name: str, results: list[Result], of: str) -> Part:
    """A row for each case; the ratio is to the first."""
    size, axis = GROWS[name]
    columns: dict[str, list[float]] = {
        "step": [plain(r) for r in results],
        "bound": [sum(plain(r, "bound").values()) for r in results],
        "peak memory": [r["peak_bytes"] for r in results],
    }
    found = Part(f"{name}{of}")
    found.head = [
        *SIZES.values(),
        "step, ms",
        "bound",
        "planned",
        "times the first",
        "with new weights, ms",
        "sent, MB",
        "peak, MiB",
        "planned",
        "users ranked a second",
        "bound",
        "set-up, s",
        "start, s",
    ]
    for result in results:
        found.rows.append(
            [
                *_sizes(result),
                _ms(plain(result)),
                _ms(sum(plain(result, "bound").values())),
                _ms(result.get("planned_seconds")),
                f"{plain(result) / plain(results[0]):.2f}",
                _ms(result.get("new_weights_seconds")),
                f"{sum(plain(result, 'sent').values()) / 1e6:,.1f}",
                f"{result['peak_bytes'] / MIB:,.0f}",
                f"{result['memory_plan'] / MIB:,.0f}",
                f"{result['ranked_users_per_second']:,.0f}",
                f"{result['ranked_bound']:,.0f}",
                f"{result['set_up_seconds']:.1f}",
                f"{result['start_seconds'] or 0:.1f}",
            ]
        )
    x = [r["case"][size] for r in results]
    growth = {what: exponent(x, values) for what, values in columns.items()}
    shown = ", ".join(f"{what} {p:.2f}" for what, p in growth.items() if p is not None)
    found.text = [f"Exponents of growth (least squares over logarithms): {shown}"] if shown else []

    def add(title: str, unit: str, caption: str, measured: list[float], bound: list[float], label: str) -> None:
        drawing = growth_figure(f"{title}, {name}{of}", axis, unit, x, measured, bound, label)
        found.figures.append((drawing, f"{name}{of}: {caption}."))

    ms, least = ([1e3 * s for s in columns[c]] for c in ("step", "bound"))
    peak, plan = ([r[key] / MIB for r in results] for key in ("peak_bytes", "memory_plan"))
    users, most = ([r[key] for r in results] for key in ("ranked_users_per_second", "ranked_bound"))
    add("step time", "ms a step", "a step without new weights, against its bound", ms, least, "bound")
    add("peak memory", "MiB of a worker", "peak of the worker that needs most, against the plan", peak, plan, "plan")
    add("ranked users", "users a second", "full ranking, against the matrix product alone", users, most, "bound")
    return found


def _side_by_side(name: str, methods: dict[str, list[Result]]) -> Part:
    """A row for each size, a group of columns for each method: seconds of an epoch and memory of a worker."""
    size, axis = GROWS[name]
    base, *others = methods
    found = Part(f"{name}: methods side by side")
    found.head = [*SIZES.values(), f"{base}, s an epoch", "MiB"]
    found.head += [cell for m in others for cell in (f"{m}, s an epoch", f"times {base}", "MiB", f"times {base}")]
    for first, *more in zip(*methods.values(), strict=True):
        cells = [*_sizes(first), f"{first['epoch_seconds']:.3g}", f"{first['peak_bytes'] / MIB:,.0f}"]
        for one in more:
            cells += [f"{one['epoch_seconds']:.3g}", f"{one['epoch_seconds'] / first['epoch_seconds']:.2f}"]
            cells += [f"{one['peak_bytes'] / MIB:,.0f}", f"{one['peak_bytes'] / first['peak_bytes']:.2f}"]
        found.rows.append(cells)
    x = [r["case"][size] for r in methods[base]]
    growth = [
        f"{m} {p:.2f} (memory {q:.2f})"
        for m, results in methods.items()
        if (p := exponent(x, [r["epoch_seconds"] for r in results])) is not None
        and (q := exponent(x, [r["peak_bytes"] for r in results])) is not None
    ]
    found.text = [f"Exponents of an epoch's growth with {size}: {', '.join(growth)}"] if growth else []
    for method in others:
        for key, unit, scale in (("epoch_seconds", "s an epoch", 1.0), ("peak_bytes", "MiB of a worker", 2.0**20)):
            y, least = ([r[key] / scale for r in methods[m]] for m in (method, base))
            drawing = growth_figure(f"{unit}, {method} and {base}, {name}", axis, unit, x, y, least, base, method)
            found.figures.append((drawing, f"{unit}, {method} and {base}, {name}."))
    return found


def _step(result: Result, kind: str) -> Part:
    """Milliseconds by pass and operation, and each operation against its bound."""
    parts, least = result[f"{kind}_parts"], result[f"{kind}_bound"]
    passes, operations = by(parts, 0), by(parts, 1)
    cell = {(p, o): s for p, o, s in parts}
    whole = sum(passes.values())
    found = Part(f"A step {KINDS[kind]}, {_largest_sizes(result)}, {1e3 * whole:,.1f} ms; ms by pass and operation")
    found.head = ["pass", *operations, "sum", "share"]
    for name, total in passes.items():
        cells = [f"{1e3 * cell[name, o]:.1f}" if (name, o) in cell else "" for o in operations]
        found.rows.append([name, *cells, f"{1e3 * total:.1f}", f"{total / whole:.0%}"])
    found.rows.append(["sum", *(f"{1e3 * s:.1f}" for s in operations.values()), f"{1e3 * whole:.1f}", ""])
    optimiser = passes.get("optimiser", 0.0)
    seconds = operations | {OTHER: operations.get(OTHER, 0.0) - optimiser, "optimiser": optimiser}
    bars = [(n, 1e3 * s, 1e3 * least[n] if n in least else None) for n, s in seconds.items() if s > 0 or n in least]
    bars.sort(key=lambda bar: (bar[2] is None, -bar[1]))
    drawing = bars_figure(f"operations, {KINDS[kind]}", "ms", bars)
    found.figures = [(drawing, f"{KINDS[kind]}, by operation; exchange includes waiting for the others.")]
    return found


def _bytes(result: Result) -> Part:
    found = Part(f"Bytes of a step by collective, {_largest_sizes(result)}")
    kinds = [kind for kind in KINDS if f"{kind}_sent" in result]
    tags = dict.fromkeys(tag for kind in kinds for tag in result[f"{kind}_sent"])
    if not tags:
        found.text = ["nothing: one worker"]
        return found
    found.head = ["collective", *(f"{KINDS[kind]}, MB (calls)" for kind in kinds)]
    for tag in tags:
        sent = [(result[f"{kind}_sent"].get(tag, 0) / 1e6, result[f"{kind}_calls"].get(tag, 0)) for kind in kinds]
        found.rows.append([tag, *(f"{mb:,.2f} ({calls})" for mb, calls in sent)])
    bars = [(tag, n / 1e6, plain(result, "formula")[tag] / 1e6) for tag, n in plain(result, "sent").items()]
    drawing = bars_figure("bytes by collective", "MB a step", bars, "formula")
    found.figures = [(drawing, "Bytes that a worker sends in a step, counted, against docs/bytes.md.")]
    return found


def _files(whole: dict[str, Any]) -> list[Part]:
    """Reading, starting, embedding, where they were measured."""
    found = []
    if read := whole.get("reading"):
        head = ("", "MB", "s", "its bytes alone, s")
        rows = [(n, f"{r['bytes'] / 1e6:,.1f}", f"{r['seconds']:.3f}", f"{r['bound']:.3f}") for n, r in read.items()]
        found.append(Part("Reading, smallest case", [], head, list(rows)))
    results = [r for sweep in whole["sweeps"].values() for r in sweep]
    if starts := {r["case"]["workers"]: r["start_seconds"] for r in results if r["start_seconds"]}:
        workers: list[Sequence[object]] = [(w, f"{s:.1f}") for w, s in sorted(starts.items())]
        found.append(Part("From launch to work", [], ("workers", "s"), workers))
    if job := whole.get("embedding"):
        numbers = [(name.replace("_", " "), f"{v:,.1f}") for name, v in job.items() if not isinstance(v, str)]
        found.append(Part(f"Embedding job, {job['model']} on {job['engine']}", [], ("", ""), list(numbers)))
    return found


def _sizes(result: Result) -> list[str]:
    return [f"{result['case'][key]:,}" for key in SIZES]


def _largest_sizes(result: Result) -> str:
    return ", ".join(f"{SIZES[key]} = {result['case'][key]:,}" for key in ("items", "width", "pairs", "workers"))


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.0f}"
