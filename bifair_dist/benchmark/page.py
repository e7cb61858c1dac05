"""benchmark.html: each measurement against its bound, from the content of benchmark.json."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from bifair_dist.benchmark.clock import OTHER
from bifair_dist.benchmark.compared import by_method
from bifair_dist.benchmark.figures import bars_figure, growth_figure
from bifair_dist.benchmark.growth import exponent
from bifair_dist.benchmark.measure import Result, by
from bifair_dist.benchmark.table import bound, largest, plain, sent
from bifair_dist.report.page import figure, table, write_page

SIZES = {
    "strong": ("workers", "workers, one catalogue"), "weak": ("workers", "workers, a catalogue that grows with them"),
    "catalogue": ("pairs", "training pairs, E; items and users grow with them"),
    "items": ("items", "items, N"), "width": ("width", "columns of the item vectors, d"),
    "pairs": ("pairs", "training pairs, E"), "batch": ("batch", "examples of a batch, B"),
    "groups": ("groups", "groups, G"),
}  # fmt: skip
"""By sweep: the size that grows, and its axis."""


def write(path: Path, whole: dict[str, Any]) -> None:
    """The page of a whole benchmark: keys about, sweeps, reading, embedding."""
    sweeps: dict[str, list[Result]] = whole["sweeps"]
    one = {name: list(by_method(found).values())[-1] for name, found in sweeps.items()}  # of the method named last
    parts = ["<h1>Benchmark of training steps</h1>", _lines(whole["about"]), _rates(largest(sweeps))]
    parts += ["<h2>Steps, by sweep</h2>", '<div class="figures">', *(_sweep(n, r) for n, r in one.items()), "</div>"]
    parts += _methods(sweeps)
    parts += _step(largest(sweeps))
    parts += ["<h2>Memory and ranking</h2>", '<div class="figures">', *_others(one), "</div>"]
    parts += _files(whole)
    write_page(path, "Benchmark of training steps", parts)


def _lines(about: list[str]) -> str:
    items = "".join(f"<li>{html.escape(line.removeprefix('- '))}</li>" for line in about)
    return f'<ul class="small">{items}</ul>'


def _rates(result: Result) -> str:
    rates = result["rates"]
    told = f"a worker multiplied matrices at {rates['flops'] / 1e9:,.0f} GFLOP/s"
    told += f" and streamed {rates['bandwidth'] / 1e9:,.1f} GB/s"
    if rates["link"]:
        told += f", sent {rates['link'] / 1e9:.2f} GB/s, and a collective took {1e3 * rates['latency']:.2g} ms"
    return (
        f"<p>Bounds are made of rates measured in the same run, all workers at once: {told} (W = "
        f"{result['case']['workers']}). A bound is the time of the matrix products at that rate, or of the bytes at "
        "that bandwidth, whichever is longer, part by part; only what runs from the cache can be faster.</p>"
    )


def _sweep(name: str, results: list[Result]) -> str:
    size, axis = SIZES[name]
    x = [r["case"][size] for r in results]
    seconds = [1e3 * plain(r) for r in results]
    least = [1e3 * sum(bound(r).values()) for r in results]
    drawing = growth_figure(f"step time, {name}", axis, "ms a step", x, seconds, least)
    p, q = exponent(x, seconds), exponent(x, least)
    grows = f"; measured grows with exponent {p:.2f}, the bound with {q:.2f}" if p is not None and q is not None else ""
    first = results[0]["case"]
    fixed = ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in first.items() if k != size)
    return figure(drawing, f"{name}: step without new weights. First case: {fixed}{grows}.")


def _methods(sweeps: dict[str, list[Result]]) -> list[str]:
    """An epoch and the memory of every method against those of the first, over the size that grows."""
    found = []
    for name, results in sweeps.items():
        (base, first), *others = by_method(results).items()
        size, axis = SIZES[name]
        x = [r["case"][size] for r in first]
        for method, own in others:
            for key, unit, scale, told in (
                ("epoch_seconds", "s an epoch", 1.0, "an epoch, validation apart"),
                ("peak_bytes", "MiB of a worker", 2.0**20, "peak memory"),
            ):
                y, least = ([r[key] / scale for r in results] for results in (own, first))
                drawing = growth_figure(f"{method} and {base}, {name}", axis, unit, x, y, least, base, method)
                times = [a / b for a, b in zip(y, least, strict=True)]
                found.append(figure(drawing, f"{name}: {told}; {min(times):.2f} to {max(times):.2f} times {base}."))
    return ["<h2>Methods side by side</h2>", '<div class="figures">', *found, "</div>"] if found else []


def _step(result: Result) -> list[str]:
    """A step by operation, and its bytes, of the largest case."""
    found = ["<h2>A step of the largest case</h2>", '<div class="figures">']
    for kind, title in (("plain", "without new weights"), ("new_weights", "with new weights")):
        if f"{kind}_parts" not in result:
            continue
        rows = operations(result[f"{kind}_parts"], result[f"{kind}_bound"])
        drawing = bars_figure(
            f"operations, {title}", "ms", [(n, 1e3 * m, None if b is None else 1e3 * b) for n, m, b in rows]
        )
        found.append(figure(drawing, f"Step {title}, by operation; exchange includes waiting for the others."))
    tags = sent(result)
    if tags:
        formula: Any = result.get("plain_formula", result.get("new_weights_formula"))
        drawing = bars_figure(
            "bytes by collective", "MB a step", [(t, n / 1e6, formula[t] / 1e6) for t, n in tags.items()], "formula"
        )
        found.append(
            figure(drawing, "Bytes that a worker sends in a step, counted, against the formulas of docs/bytes.md.")
        )
    return [*found, "</div>"]


def operations(parts: list[list[Any]], least: dict[str, float]) -> list[tuple[str, float, float | None]]:
    """(operation, seconds, bound) of a step: the optimiser's pass apart, what has no bound last."""
    seconds = by(parts, 1)
    optimiser = by(parts, 0).get("optimiser", 0.0)
    seconds[OTHER] = seconds.get(OTHER, 0.0) - optimiser
    seconds["optimiser"] = optimiser
    rows = [(name, value, least.get(name)) for name, value in seconds.items() if value > 0 or name in least]
    return sorted(rows, key=lambda row: (row[2] is None, -row[1]))


def _others(sweeps: dict[str, list[Result]]) -> list[str]:
    found = []
    for name in ("catalogue", "items", "pairs", "strong"):
        if name not in sweeps:
            continue
        results, (size, axis) = sweeps[name], SIZES[name]
        x = [r["case"][size] for r in results]
        peaks = [r["peak_bytes"] / 2**20 for r in results]
        planned = [r["memory_plan"] / 2**20 for r in results]
        drawing = growth_figure(f"peak memory, {name}", axis, "MiB of a worker", x, peaks, planned, "plan")
        found.append(figure(drawing, f"{name}: peak of the worker that needs most, against --plan."))
        if name in ("items", "strong"):
            ranked = [r["ranked_users_per_second"] for r in results]
            most = [r["ranked_bound"] for r in results]
            drawing = growth_figure(f"ranked users, {name}", axis, "users ranked a second", x, ranked, most)
            found.append(figure(drawing, f"{name}: full ranking of the catalogue, against the matrix product alone."))
    return found


def _files(whole: dict[str, Any]) -> list[str]:
    """Reading, starting, embedding."""
    results = [r for found in whole["sweeps"].values() for r in found]
    starts = {r["case"]["workers"]: r["start_seconds"] for r in results if r["start_seconds"]}
    found = ["<h2>Reading and starting</h2>"]
    if read := whole.get("reading"):
        rows = [(name, 1e3 * r["seconds"], 1e3 * r["bound"]) for name, r in read.items()]
        drawing = bars_figure("reading", "ms", rows, "its bytes alone")
        found.append(
            figure(
                drawing,
                "Reading the smallest case as a training does, checks included; the files were in memory.",
            )
        )
    if starts:
        found.append(table(("workers", "s from launch to work"), [(w, f"{s:.1f}") for w, s in sorted(starts.items())]))
    if job := whole.get("embedding"):
        found.append("<h2>Embedding</h2>")
        told: list[tuple[str, Any]] = [
            ("items", f"{job['items']:,}"),
            ("model, engine", f"{job['model']}, {job['engine']}"),
            ("replicas", job["replicas"]),
            ("tokens an item", f"{job['tokens_per_item']:.1f}"),
            ("seconds in all", f"{job['seconds']:.1f}"),
        ]
        if "items_per_second" in job:
            told += [
                ("seconds to start", f"{job['start_seconds']:.1f}"),
                ("items a second", f"{job['items_per_second']:,.0f}"),
                ("tokens a second", f"{job['items_per_second'] * job['tokens_per_item']:,.0f}"),
            ]
        found.append(table(("", ""), told))
        if "items_per_second" in job and "bound_items_per_second" in job:
            drawing = bars_figure(
                "embedding",
                "items a second",
                [("embedding job", job["items_per_second"], job["bound_items_per_second"])],
            )
            found.append(
                figure(drawing, "Once started; the bound is the model's matrix products at the measured rate.")
            )
    return found
