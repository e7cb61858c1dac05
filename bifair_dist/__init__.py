"""BiFair (arXiv 2507.04294), distributed: fairness-aware training of recommenders on LLM item embeddings.

`prepare`, `embed`, `train` and `load_run` are in `api.py`, which is imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifair_dist.api import TrainedRun, embed, load_run, prepare, train
    from bifair_dist.errors import UserError

__version__ = "0.1.0"
__all__ = ["TrainedRun", "UserError", "embed", "load_run", "prepare", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bifair_dist' has no attribute {name!r}")
    from bifair_dist import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
