"""Draw docs/img/failures.svg: what runs that go wrong look like, from the histories of real runs (docs/failures.md).

    python benchmarks/failures.py --runs RUNS --out docs/img/failures.svg

RUNS has the run folders `well`, `diverging`, `trivial`, `collapse` and `stalled`. Prints what each run warned of.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bifair_dist.training.watch import Watch

RUNS = ("well", "diverging", "trivial", "collapse", "stalled")
BLUE, GREY = "#0072B2", "#777777"


def main() -> None:
    """Read the histories, print the warnings, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    histories = {name: read(arguments.runs / name) for name in RUNS}
    for name, records in histories.items():
        watch = Watch()
        for record in records:
            for line in watch.add(record):
                print(f"{name}, epoch {record['epoch']}: {line}")
    draw(histories, arguments.out)


def read(run: Path) -> list[dict[str, Any]]:
    """The validations of the bi-level phase."""
    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["phase"] == "bilevel"]


def figures(record: dict[str, Any]) -> tuple[float, ...]:
    """Recall, CV, Z's drift, groups without weight."""
    weights = record["weights"]
    table = record["valid"]["groups"][record["group"]]
    unheard = sum(w < 0.01 / len(weights) for w in weights)
    return record["valid"]["recall@20"], table["cv"], record["z_drift"], unheard


def draw(histories: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """A column for each run, a row for each figure; all rows share their axis, so that columns compare."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = ("Recall@20", "CV of genre", "drift of Z", "groups without weight")
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(len(rows), len(histories), sharex=True, sharey="row")
    for column, (name, records) in enumerate(histories.items()):
        axes[0, column].set_title(name, fontsize=10)
        began = records[0]["began_with"]
        for row, label in enumerate(rows):
            at = axes[row, column]
            values = [figures(r)[row] for r in records]
            at.plot([r["epoch"] for r in records], values, "o-", color=BLUE, markersize=3, linewidth=1)
            if row < 2:
                at.axhline(began["recall@20" if row == 0 else "cv"], color=GREY, linestyle="--", linewidth=1)
            if row == 2:
                at.set_yscale("log")
            if column == 0:
                at.set_ylabel(label, fontsize=9)
            at.tick_params(labelsize=7)
        axes[-1, column].set_xlabel("epoch", fontsize=8)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "failures"}):
        figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line.rstrip() + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
