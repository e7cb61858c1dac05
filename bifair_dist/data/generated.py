"""The built-in default dataset: the generated catalogue through the ordinary stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bifair_dist.data.prepare import PrepareOptions, Progress, prepare_raw
from bifair_dist.data.sources import BUILT_IN
from bifair_dist.data.sources.generated import generate_raw
from bifair_dist.data.writer import check_target

GROUPS = ("popularity:quintiles", "genre:8", "provider:publisher:20", "user:activity:quintiles")
K_CORE = 5


def generate_dataset(
    folder: str | Path,
    seed: int = 0,
    *,
    n_items: int = 3000,
    n_users: int = 2000,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the generated dataset folder (random 70/10/20, 5-core); return its manifest, the truth under ``planted``.

    Deterministic in its arguments. Raises ``UserError`` if the folder exists.
    """
    options = PrepareOptions(k_core=K_CORE, seed=seed, groups=GROUPS)
    check_target(Path(folder))
    return prepare_raw(generate_raw(seed, n_items, n_users), BUILT_IN, Path(folder), options, progress)
