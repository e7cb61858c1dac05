"""From what a model gives for an item to what is stored: fewer columns, unit length, and what counts as failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bifair_dist.embedding.items import ROW


def finish(
    vectors: npt.NDArray[np.floating], width: int, normalise: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """(float32 [n, width], usable [n]): the first `width` columns (0: all), of length 1 where asked for.

    Cutting comes before scaling, as Matryoshka models are trained (Kusupati et al., arXiv 2205.13147). Norms are taken
    in float64. Not usable are rows with a value that is not finite, and rows of zeros that cannot have length 1.
    """
    kept = np.ascontiguousarray(vectors[:, : width or vectors.shape[1]], np.float32)
    usable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(kept).all(axis=1))
    if normalise:
        norms = np.linalg.norm(kept.astype(np.float64), axis=1)
        usable &= norms > 0
        kept = (kept / np.where(usable, norms, 1.0)[:, None]).astype(np.float32)
    return kept, usable


def result_table(
    table: pa.Table, vectors: Sequence[npt.NDArray[np.floating] | None], reasons: Sequence[str], width: int, norm: bool
) -> pa.Table:
    """What an engine hands on: `row`, `item_id`, `tokens`, `truncated`, `vector` (null where failed), `reason`.

    `vectors[i]` [D] belongs to row i of `table`; None where it failed, for `reasons[i]`.
    """
    given = list(reasons)
    good = [i for i, vector in enumerate(vectors) if vector is not None]
    columns: list[npt.NDArray[np.float32] | None] = [None] * len(given)
    if good:
        kept, usable = finish(np.stack([np.asarray(vectors[i]) for i in good]), width, norm)
        for i, vector, fine in zip(good, kept, usable, strict=True):
            if fine:
                columns[i] = vector
            else:
                given[i] = "the model gave a vector that is zero or not finite"
    out = table.select([ROW, "item_id", "tokens", "truncated"])
    out = out.append_column("vector", pa.array(columns, pa.list_(pa.float32())))
    return out.append_column("reason", pa.array(given, pa.string()))
