"""Number formats of stored vectors: to and from the bits on disk, and rows of length 1.

NumPy and Parquet have no bfloat16 (the upper half of a float32), so that its bit patterns are kept as uint16.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STORED: dict[str, type[np.generic]] = {
    "float16": np.float16,
    "bfloat16": np.uint16,
    "float32": np.float32,
    "float64": np.float64,
}
"""What the values of a vector lie in on disk, by the format's name."""


def to_stored(vectors: npt.NDArray[np.floating], dtype: str) -> npt.NDArray[np.generic]:
    """Vectors rounded to `dtype` (a key of `STORED`), in the array type it is stored in; nearest, ties to even.

    float64 reaches bfloat16 through float32. Values too large for `dtype` become infinite.
    """
    with np.errstate(over="ignore"):
        if dtype != "bfloat16":
            return np.asarray(vectors, STORED[dtype])
        bits = np.ascontiguousarray(vectors, np.float32).view(np.uint32)
    # Half of the last kept bit, less one where that bit is even: a tie goes up only from an odd one.
    upper = ((bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    nan = np.isnan(vectors)
    upper[nan] = ((bits[nan] >> 16) | 0x40).astype(np.uint16)  # the sum may carry a NaN over to another number
    return upper


def from_stored(stored: npt.NDArray[np.generic], dtype: str, wanted: npt.DTypeLike = None) -> npt.NDArray[np.floating]:
    """Values of what `to_stored` gave, as `wanted` (none: float64 for float64, float32 otherwise, without any loss)."""
    wanted = wanted or (np.float64 if dtype == "float64" else np.float32)
    if dtype == "bfloat16":
        stored = (stored.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return stored.astype(wanted, copy=False)


def lengths(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """L2 norm of every row, taken in float64, [n]."""
    norms: npt.NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64, copy=False), axis=1)
    return norms


def unit_length(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Rows scaled to length 1, in the format they came in. A row of zeros stays one."""
    norms = lengths(vectors)
    return (vectors / np.where(norms > 0, norms, 1.0)[:, None]).astype(vectors.dtype)
