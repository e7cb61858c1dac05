"""A finished run as its folder has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifair_dist.config import TrainSettings, load
from bifair_dist.errors import UserError
from bifair_dist.training.provenance import FILE as PROVENANCE
from bifair_dist.training.run_folder import is_finished
from bifair_dist.training.run_log import LOG_FILE


@dataclass(frozen=True, slots=True)
class RunFiles:
    """What a report reads of a run, apart from lists and vectors (docs/files.md has each file).

    `warnings`: lines with which the trainer said that something looks wrong. `provenance`: empty for runs of earlier
    versions.
    """

    folder: Path
    settings: TrainSettings
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    provenance: dict[str, Any]
    warnings: list[str]

    @property
    def group(self) -> str:
        """The group table that training balanced; where it balanced none, the one that its lines showed."""
        tables = self.metrics["test"]["groups"]
        name = self.settings.balance.group
        return name if name in tables else next(iter(tables), "")

    @property
    def first_vectors(self) -> Path | None:
        """The folder of the vectors that the run began with; None where ids had embeddings, which begin at random."""
        if self.settings.training.id_embeddings:
            return None
        start = self.settings.training.warm_start
        return Path(start) / "item_representations" if start else Path(self.settings.data.representations)


def read_run(folder: Path) -> RunFiles:
    """Read it. Raises `UserError` where the folder is no finished run."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: no run folder (it has no config.yaml); give the folders of finished runs")
    if not is_finished(folder):
        raise UserError(f"{folder}: this run is not finished; the command that began it goes on with it")
    settings = load(TrainSettings(), folder / "config.yaml")
    metrics = _json(folder / "metrics.json")
    if not isinstance(metrics, dict) or "groups" not in metrics.get("test", {}):
        raise UserError(f"{folder / 'metrics.json'}: no figures under 'test'; this is not what a training wrote")
    history = [_parsed(line, folder / "history.jsonl") for line in _lines(folder / "history.jsonl")]
    provenance = _json(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else {}
    marked = (line.strip() for line in _lines(folder / LOG_FILE))
    warnings = [line.removeprefix("warning: ") for line in marked if line.startswith("warning: ")]
    return RunFiles(folder, settings, metrics, history, provenance, warnings)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _json(path: Path) -> Any:
    return _parsed(path.read_text(encoding="utf-8"), path)


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); the file was changed since the run") from None
