"""The item vectors of a training: the folder it was given, or MiniLM's, embedded once and cached."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bifair_dist.data.representations import check_representations
from bifair_dist.data.settings import DataSettings
from bifair_dist.embedding.job import embed_here, make_job
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError
from bifair_dist.settings import override
from bifair_dist.tracking_settings import TrackingSettings


class Catalog(Protocol):
    """What the embedding needs of a dataset."""

    @property
    def folder(self) -> Path:
        """The dataset folder."""

    @property
    def item_ids(self) -> npt.NDArray[np.object_]:
        """Ids in index order."""


def ensure_representations(dataset: Catalog, settings: DataSettings) -> Path:
    """Folder of the dataset's item vectors: the one in the settings, or MiniLM's, made unless the cache has them.

    It is checked against the dataset (checksums and ids). Vectors are made in this process by the embedding job's
    second engine, which needs neither vLLM nor Ray. Raises `UserError`.
    """
    if settings.representations:
        folder = Path(settings.representations).expanduser()
        check_representations(folder, dataset.item_ids)
        return folder
    base = Path(settings.cache).expanduser().absolute() / "representations"
    wanted = EmbedSettings(
        dataset=str(dataset.folder),
        output=str(base / "minilm"),
        engine="sentence-transformers",
        template=settings.template,
        tracking=TrackingSettings(enabled=False),
    )
    try:
        job = make_job(wanted)
        key = hashlib.sha256(json.dumps(job.identity(), sort_keys=True).encode()).hexdigest()[:16]
        folder = base / f"minilm-{key}"
        if not (folder / "manifest.json").is_file():
            print(
                f"no --data.representations given: embedding {settings.template!r} of {job.rows:,} items with "
                "MiniLM (jobs/embed.py does it with other models)",
                flush=True,
            )
            base.mkdir(parents=True, exist_ok=True)
            embed_here(override(wanted, {"output": str(folder)}), settings.embed_threads)
    except UserError as error:
        raise UserError(f"data.{error}" if str(error).startswith("template: ") else str(error)) from None
    check_representations(folder, dataset.item_ids)
    return folder
