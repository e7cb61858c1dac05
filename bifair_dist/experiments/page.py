"""The table of test figures on the pages of sweeps and studies."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bifair_dist.experiments.table import MEASURES, Entry, moved, point_text, shown
from bifair_dist.report.page import Part


def tested(title: str, entries: Sequence[Entry], reference: str, here: Path) -> Part:
    """It and its warnings, linked to the runs from a page in the folder `here`."""
    head = ["method", *MEASURES.values(), "hypervolume", "on the front", "s/epoch", "epochs used", "runs by seed"]
    part = Part(title, head=head, warnings=[e.warning for e in entries if e.warning])
    for e in entries:
        values = [e.values[key] for key in MEASURES]
        numbers = [(shown(v), "" if e.method == reference else moved(v)) for v in values]
        runs = {trial.seed: f"{os.path.relpath(trial.folder, here)}/" for trial in e.trials}
        name = (e.method, point_text(e.point) if e.point else "")
        about = [f"{e.area:.4f}", f"{e.front}/{len(e.tried)}", f"{e.seconds:.2f}", e.epochs, runs]
        part.rows.append([name, *numbers, *about])
    return part
