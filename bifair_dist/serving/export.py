"""A finished run for other programs: an index, arrays, or the whole model with a card (`jobs/export.py`)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from bifair_dist.data.representations import building
from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.serving.card import card_of
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.model_folder import write_ids, write_model
from bifair_dist.serving.recommender import Recommender
from bifair_dist.serving.settings import ExportSettings


def export(settings: ExportSettings) -> Path:
    """Write the folder, whole or not at all, and return it. Raises `UserError`."""
    run = Run.finished_in(settings.run, "run")
    named = Path(settings.output).expanduser() if settings.output else None
    if settings.interpolation is not None or settings.accuracy_budget is not None:
        return _another_point(run, named, settings)
    kind = settings.format or "huggingface"
    folder = named or run.folder / f"export-{kind}"
    write = FORMATS[kind]
    model = recommender_of(run.folder)
    with building(folder) as place:
        write(model, run, place)
    print(f"{len(model.item_ids):,} items and {len(model.user_ids):,} users as {kind}: {folder}", flush=True)
    return folder


def _another_point(run: Run, folder: Path | None, settings: ExportSettings) -> Path:
    if settings.interpolation is not None and settings.accuracy_budget is not None:
        raise UserError("interpolation and accuracy_budget: give one of them; each names a state of the run")
    if settings.format is not None:
        raise UserError(
            f"format: another state is written as a run folder; then jobs/export.py FOLDER --format {settings.format}"
        )
    from bifair_dist.training.another_point import write_point

    folder = write_point(run, folder, settings.interpolation, settings.accuracy_budget)
    print(Run(folder).log_file.read_text(encoding="utf-8") + f"a run folder: {folder}", flush=True)
    return folder


def _faiss(model: Recommender, run: Run, folder: Path) -> None:
    """`items.faiss`, an exact index for inner products (row n: row n of items.parquet), and `users.npy` to ask it."""
    try:
        import faiss
    except ImportError:
        raise UserError("format: faiss is not installed; pip install 'bifair-dist[faiss]'") from None
    index = faiss.IndexFlatIP(model.items.shape[1])
    index.add(model.items.float().numpy())
    faiss.write_index(index, str(folder / "items.faiss"))
    np.save(folder / "users.npy", model.users.numpy())
    write_ids(model, folder)


def _lance(model: Recommender, run: Run, folder: Path) -> None:
    """`items.lance` (item_id, title, vector) and `users.lance` (user_id, vector)."""
    try:
        import lance
    except ImportError:
        raise UserError("format: lance is not installed; pip install 'bifair-dist[lance]'") from None
    for name, columns, vectors in (
        ("items", {"item_id": model.item_ids, "title": model.titles}, model.items),
        ("users", {"user_id": model.user_ids}, model.users),
    ):
        flat = pa.array(vectors.numpy().reshape(-1))
        table = {key: pa.array(ids, pa.string()) for key, ids in columns.items()}
        table["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        lance.write_dataset(pa.table(table), str(folder / f"{name}.lance"))


def _npy(model: Recommender, run: Run, folder: Path) -> None:
    """`items.npy` and `users.npy`; row n belongs to row n of items.parquet and users.parquet."""
    for name, vectors in (("items", model.items), ("users", model.users)):
        np.save(folder / f"{name}.npy", vectors.numpy())
    write_ids(model, folder)


def _safetensors(model: Recommender, run: Run, folder: Path) -> None:
    """`vectors.safetensors` with `items` and `users`; rows as in items.parquet and users.parquet."""
    save_file({"items": model.items.numpy(), "users": model.users.numpy()}, folder / "vectors.safetensors")
    write_ids(model, folder)


def _huggingface(model: Recommender, run: Run, folder: Path) -> None:
    """What `bd.load_run` reads, the run's settings and figures, and `README.md`, the model card."""
    for path in (run.config_file, run.metrics_file, run.history_file, run.provenance_file):
        if path.is_file():
            shutil.copy(path, folder)
    (folder / "README.md").write_text(card_of(run), encoding="utf-8")
    write_model(model, folder, {"library_name": "bifair-dist", "run": run.name})


FORMATS: dict[str, Callable[[Recommender, Run, Path], None]] = {
    "faiss": _faiss,
    "lance": _lance,
    "npy": _npy,
    "safetensors": _safetensors,
    "huggingface": _huggingface,
}
"""Each writes into an empty folder."""
