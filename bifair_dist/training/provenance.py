"""What goes into `provenance.json`: the program's commit and the checksums of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bifair_dist import __version__
from bifair_dist.commit import commit
from bifair_dist.errors import UserError
from bifair_dist.files import sha256
from bifair_dist.runs import Provenance, Run
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.settings import TrainSettings


def write_provenance(folder: Path, settings: TrainSettings) -> None:
    """Write it, or add this program's commit where another one began the run.

    The checksums are those of the folders' manifests, which hold those of all files beside them.
    """
    run = Run(folder)
    try:
        record = run.provenance
    except UserError:  # damaged: as good as none
        record = Provenance()
    if not record.version:
        record = Provenance(__version__, (), data_checksums(settings))
    now = commit("bifair_dist", "jobs", "pyproject.toml")
    if now and now not in record.commits:
        record = replace(record, commits=(*record.commits, now))
    run.write_provenance(record)


def data_checksums(settings: TrainSettings) -> dict[str, str | None]:
    """SHA-256 of the manifests of dataset, representations and, if the run starts from a run, its vectors; None: gone.

    Keys are the settings that name the folders.
    """
    folders = {"data.dataset": Path(settings.data.dataset)}
    if method_of(settings).vectors(settings) is not None:
        folders["data.representations"] = Path(settings.data.representations)
    if settings.training.warm_start:
        folders["training.warm_start"] = Path(settings.training.warm_start) / "item_representations"
    manifests = {key: folder / "manifest.json" for key, folder in folders.items()}
    return {key: sha256(path) if path.is_file() else None for key, path in manifests.items()}
