"""Settings of `jobs/export.py`."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class ExportSettings(Settings):
    """A finished run for other programs."""

    run: str = setting("", "run folder; or name it before the settings", unit="path")
    format: Literal["huggingface", "faiss", "lance", "npy", "safetensors"] = setting(
        "huggingface",
        "huggingface: the whole model with a model card, bd.load_run reads it; the others: ranking vectors of items "
        "and users, whose inner products are the scores",
        why="the one that needs no other program",
    )
    output: str = setting("", "folder to write, which must not exist; empty: export-FORMAT in the run folder", unit="path")
