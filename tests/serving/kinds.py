"""A model of each kind, as settings."""

from __future__ import annotations

from typing import Any

KINDS: dict[str, dict[str, Any]] = {
    "bifair": {},
    "users frozen": {"model.users": "frozen", "bilevel.eta": 0.05},
    "linear": {"model.projector": "linear"},
    "alpharec": {"training.method": "alpharec"},
    "theta_only": {"training.method": "theta_only"},
    "separate": {"training.method": "separate"},
    "mf": {"training.method": "mf"},
    "lightgcn, inner products": {"training.method": "lightgcn", "model.loss": "bpr"},
}
