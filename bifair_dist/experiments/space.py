"""A search space: settings of a training and where to look for each. The files are in `tune_spaces/`."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError, did_you_mean
from bifair_dist.settings import known_settings, renamed
from bifair_dist.training.settings import TrainSettings

FOLDER = Path(__file__).resolve().parents[2] / "tune_spaces"
DEFAULT = "bifair_core"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, ends included; `log`: equal chances for equal ratios. Whole numbers if both are."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self, count: int) -> tuple[float, ...]:
        """`count` values at equal steps (or ratios), ends included."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        values = [low + (high - low) * i / max(1, count - 1) for i in range(count)]
        values = [math.exp(v) for v in values] if self.log else values
        ends = [self.low, *values[1:-1], self.high] if count > 1 else values
        return tuple(dict.fromkeys(round(v) for v in ends)) if self.whole else tuple(ends)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What to search.

    domains: dotted settings of `jobs/train.py` and where to look. fixed: settings that hold for every trial unless a
    file or the command line says otherwise. trials: how many, unless the command says; a grid has as many as it has
    points. warm_start: trials start from the shared AlphaRec baseline and cost the bi-level phase only; off where the
    space changes what the baseline consists of. search: the searcher that fits. seeds: more than one makes every point
    of a grid a mean over these.
    """

    name: str
    about: str
    domains: Mapping[str, Range | Choice]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 16
    warm_start: bool = True
    search: str = "optuna"
    points: int = 5
    seeds: tuple[int, ...] = (0,)

    def grid(self) -> list[dict[str, Any]]:
        """Every combination: all values of a choice, `points` values of a range."""
        axes = [d.values if isinstance(d, Choice) else d.grid(self.points) for d in self.domains.values()]
        return [dict(zip(self.domains, values, strict=True)) for values in itertools.product(*axes)]


CHOSEN_BY = ("balance.group", "balance.accuracy_budget", "training.metric", "training.k", "training.seed")
"""Settings that the rule of choice itself depends on: a sweep over them would compare what cannot be compared."""


def fixed_under(files: Mapping[str, Any], line: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fixed values of the space that a sweep's settings name; files and command line lie over them.

    Raises `UserError` where the command line fixes a setting that the space searches.
    """
    space = load_space(str(line.get("tune.space", files.get("tune.space", DEFAULT))))
    for key in space.domains:
        if key in line:
            raise UserError(f"command line: {key} is what the space {space.name} searches; leave it out")
    return space.fixed


def load_space(name: str) -> Space:
    """The space in `tune_spaces/<name>.py`, or in a file of yours. Raises `UserError`."""
    path = Path(name) if name.endswith(".py") else FOLDER / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.py")))
        raise UserError(f"tune.space: no {path}; there are: {known}")
    spec = importlib.util.spec_from_file_location(f"tune_space_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, TypeError, NameError, SyntaxError) as error:
        raise UserError(f"tune.space: {path}: {error}; see the files in tune_spaces/") from None
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space):
        raise UserError(f"tune.space: {path} defines no SPACE")
    settings = dict(known_settings(TrainSettings))
    domains, fixed = (renamed(TrainSettings, part, str(path)) for part in (space.domains, space.fixed))
    space = replace(space, domains=domains, fixed=fixed)
    for key in (*domains, *fixed):
        if key not in settings:
            raise UserError(f"{path}: unknown setting {key}{did_you_mean(key, settings)}")
        if key in CHOSEN_BY and key in space.domains:
            raise UserError(f"{path}: {key} cannot be searched: trials are compared by it")
    return space
