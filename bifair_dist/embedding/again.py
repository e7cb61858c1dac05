"""Items embedded once more as a manifest says they were, to compare with what is stored (`jobs/embed.py verify`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.embedding.items import count_rows, read_unit
from bifair_dist.embedding.job import Job
from bifair_dist.embedding.models import resolve
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError
from bifair_dist.settings import override


def embed_again(manifest: Mapping[str, Any], item_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Vectors of some items, float32 [len(item_ids), d], from the engine and settings of the manifest.

    Raises `UserError` where the model is not the one that made them, or the engine is not here.
    """
    # A setting without a value had its default; folders are read whose manifest still says so of the prompt.
    stored = {key: value for key, value in manifest["settings"].items() if value is not None}
    settings = override(EmbedSettings(), stored, "manifest.json")
    model = resolve(settings)
    if model.revision != manifest["revision"]:
        raise UserError(
            f"model: {model.name} here is {model.revision or 'not on this machine'}, the vectors are from "
            f"{manifest['revision']}; get that one, or verify with --sample 0"
        )
    items = Path(manifest["dataset"]) / "items.parquet"
    job = Job(settings, model, items, count_rows(items), 1, Path())
    position = {item: row for row, item in enumerate(pq.read_table(items, columns=["item_id"])["item_id"].to_pylist())}
    rows = [position[item] for item in item_ids]
    table = pa.concat_tables([read_unit(items, job.columns, row, row + 1) for row in rows])
    if settings.engine == "vllm":
        from bifair_dist.embedding import vllm_engine

        vllm_engine.installed()
        engine = vllm_engine.VllmHere(settings, model, float(manifest["device"] == "cuda"))
    else:
        from bifair_dist.embedding.sentence_engine import SentenceEngine

        engine = SentenceEngine(model, settings.compute_dtype, 0, settings.trust_remote_code)  # type: ignore[assignment]
    out = engine(job.tokens(table))
    return np.array(out["vector"].to_pylist(), np.float32)
