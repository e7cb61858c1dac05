"""`provenance.json`: the program and the data that made a run, so that its figures can be traced to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bifair_dist import __version__
from bifair_dist.commit import commit
from bifair_dist.config import TrainSettings
from bifair_dist.data.dataset import sha256
from bifair_dist.training.outputs import write_json

FILE = "provenance.json"


def write_provenance(folder: Path, settings: TrainSettings) -> None:
    """Write it, or add this program's commit where another one began the run.

    The checksums are those of the folders' manifests, which hold those of all files beside them.
    """
    path = folder / FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {"version": __version__, "commits": [], "data": data_checksums(settings)}
    now = commit("bifair_dist", "jobs", "pyproject.toml")
    if now and now not in record["commits"]:
        record["commits"].append(now)
    write_json(path, record)


def data_checksums(settings: TrainSettings) -> dict[str, str | None]:
    """SHA-256 of the manifests of dataset, representations and, if the run starts from a run, its vectors; None: gone.

    Keys are the settings that name the folders; id embeddings start from no representations.
    """
    folders = {"data.dataset": Path(settings.data.dataset)}
    if not settings.training.id_embeddings:
        folders["data.representations"] = Path(settings.data.representations)
    if settings.training.warm_start:
        folders["training.warm_start"] = Path(settings.training.warm_start) / "item_representations"
    manifests = {key: folder / "manifest.json" for key, folder in folders.items()}
    return {key: sha256(path) if path.is_file() else None for key, path in manifests.items()}
