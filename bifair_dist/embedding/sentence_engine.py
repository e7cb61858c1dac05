"""The second engine: sentence-transformers, in this process or in the actors of a Ray Data step."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bifair_dist.embedding.finish import result_table
from bifair_dist.embedding.models import Model
from bifair_dist.errors import UserError

BATCH = 64


class SentenceEngine:
    """Vectors of units of texts. Called with the tables that `Tokens` gives; see `result_table` for what comes back."""

    def __init__(self, model: Model, compute_dtype: str, threads: int = 0, trust_remote_code: bool = False) -> None:
        """Load the model; on a GPU where one is there. `threads` 0: as torch chooses. Raises `UserError`."""
        if model.is_local:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries below are imported
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        dtype = "float32" if compute_dtype == "auto" and device == "cpu" else compute_dtype
        arguments: dict[str, Any] = {
            "dtype": dtype if dtype == "auto" else getattr(torch, dtype),
            "revision": None if model.is_local else model.revision or None,
            "trust_remote_code": trust_remote_code,
        }
        try:
            transformer = Transformer(
                model.source,
                max_seq_length=model.max_tokens,
                model_kwargs=arguments,
            )
        except Exception as error:
            raise UserError(f"{model.source}: sentence-transformers cannot load it: {reason_of(error)}") from None
        mode = {"last": "lasttoken"}.get(model.pooling, model.pooling)
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=mode)
        self.encoder = SentenceTransformer(modules=[transformer, pooling], device=device)
        self.model = model

    def __call__(self, table: pa.Table) -> pa.Table:
        """One unit: as a whole, and text by text where that fails."""
        texts = table["text"].to_pylist()
        reasons = [""] * len(texts)
        vectors: list[npt.NDArray[np.float32] | None]
        try:
            vectors = list(self._encode(texts))
        except Exception:
            vectors = []
            for i, text in enumerate(texts):
                try:
                    vectors.append(self._encode([text])[0])
                except Exception as error:
                    vectors.append(None)
                    reasons[i] = reason_of(error)
        return result_table(table, vectors, reasons, self.model.width, self.model.normalise)

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        out: npt.NDArray[np.float32] = self.encoder.encode(
            texts, batch_size=BATCH, convert_to_numpy=True, show_progress_bar=False
        )
        return out


def reason_of(error: BaseException) -> str:
    """The first line that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
