"""What a study compares, from its YAML file.

about: one sentence
datasets:                       # folders below --study.data
  steam:
    settings: {model.temperature: 0.2}  # of all its trainings
    groups: [genre, popularity] # group tables; each is balanced and judged by itself
    representations: DIR        # below --study.data; left out: MiniLM's, embedded once
    folder: steam               # left out: the name
settings: {training.max_epochs: 300}   # of all trainings
reference: AlphaRec             # what others are compared with and start from
seeds: [0, 1, 2]
keep: 0.99                      # least share of the reference's validation recall and NDCG that is kept
methods:
  AlphaRec: {settings: {training.method: alpharec}, grid: {training.theta_lr: [5e-4, 1e-3]}}
  BiFair: {settings: {balance.rule: uniform}, grid: {balance.fairness_strength: [0.2, 0.4]}}
  All at once: {all_tables: true}   # one training balances every group table of the dataset, and is judged by each
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError, did_you_mean
from bifair_dist.experiments.trial import Point
from bifair_dist.settings import override, read_yaml
from bifair_dist.training.settings import TrainSettings

_TRAINING = ("seed", "warm_start", "output", "run_name", "report", "test")
GIVEN = (
    "data.dataset",
    "data.representations",
    "balance.group",
    "balance.accuracy_budget",
    *(f"training.{name}" for name in _TRAINING),
)
"""Settings that the study itself gives every training."""


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset of the study: its folders (`representations` empty: MiniLM's), settings and group tables."""

    name: str
    folder: str
    representations: str
    settings: Mapping[str, Any]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its settings and the points that are tried on validation.

    `all_tables`: a training balances all group tables of a dataset, not the one by which it is judged.
    """

    name: str
    settings: Mapping[str, Any]
    points: tuple[Point, ...]
    all_tables: bool = False


@dataclass(frozen=True, slots=True)
class Study:
    """A whole study. `methods` by name; `reference` is one of them."""

    name: str
    about: str
    datasets: tuple[Data, ...]
    methods: tuple[Method, ...]
    reference: str
    seeds: tuple[int, ...]
    keep: float
    settings: Mapping[str, Any]

    def method(self, name: str) -> Method:
        """The method of that name."""
        return next(m for m in self.methods if m.name == name)

    def resolved(self, data: Data, method: Method, point: Point) -> TrainSettings:
        """The settings of a training, but for what the study gives. Raises `UserError`."""
        out = override(TrainSettings(), {"balance.accuracy_budget": round(1 - self.keep, 12)})
        for values, part in (
            (self.settings, "settings"),
            (data.settings, f"datasets.{data.name}"),
            (method.settings, f"methods.{method.name}"),
            (point, f"methods.{method.name}.grid"),
        ):
            for key in values:
                if key in GIVEN:
                    keep = " (keep: 1 less the budget)" if key == "balance.accuracy_budget" else ""
                    raise UserError(f"{self.name}: {part}: {key} is given by the study itself{keep}; leave it out")
            out = override(out, values, f"{self.name}: {part}")
        return out


def read_study(path: Path) -> Study:
    """Read and check a study. Raises `UserError` that names the key."""
    top = read_yaml(path)
    _only(top, ("about", "datasets", "settings", "reference", "seeds", "keep", "methods"), path, "")
    for key in ("datasets", "methods", "reference"):
        if not top.get(key):
            raise UserError(f"{path}: {key} is missing")
    datasets = tuple(_data(name, part or {}, path) for name, part in _mapping(top, "datasets", path).items())
    methods = tuple(_method(name, part or {}, path) for name, part in _mapping(top, "methods", path).items())
    names = [m.name for m in methods]
    if top["reference"] not in names:
        raise UserError(f"{path}: reference: no method {top['reference']}{did_you_mean(top['reference'], names)}")
    seeds, keep = top.get("seeds", [0, 1, 2]), top.get("keep", 0.99)
    if not isinstance(seeds, list) or not seeds or not all(type(s) is int and s >= 0 for s in seeds):
        raise UserError(f"{path}: seeds must be a list of whole numbers from 0, not {seeds!r}")
    if type(keep) not in (int, float) or not 0 < keep <= 1:
        raise UserError(f"{path}: keep must be above 0 and at most 1, not {keep!r}")
    settings = _mapping(top, "settings", path)
    about = " ".join(str(top.get("about", "")).split())
    study = Study(path.stem, about, datasets, methods, top["reference"], tuple(seeds), float(keep), settings)
    reference = study.method(study.reference)
    for data, method in itertools.product(datasets, methods):
        for point in method.points:
            balances = study.resolved(data, method, point).training.balances
        if balances and method is reference:
            raise UserError(f"{path}: reference: {method.name} balances groups; it must be trained on the plain loss")
        if balances and not data.groups:
            raise UserError(f"{path}: datasets.{data.name}.groups is missing: {method.name} has nothing to balance")
    return study


def _data(name: str, part: Mapping[str, Any], path: Path) -> Data:
    where = f"datasets.{name}"
    _only(part, ("settings", "groups", "representations", "folder"), path, where)
    groups = part.get("groups", [])
    if not isinstance(groups, list):
        raise UserError(f"{path}: {where}.groups must be a list, not {groups!r}")
    vectors = str(part.get("representations", ""))
    return Data(name, str(part.get("folder", name)), vectors, _mapping(part, "settings", path), tuple(map(str, groups)))


def _method(name: str, part: Mapping[str, Any], path: Path) -> Method:
    where = f"methods.{name}"
    _only(part, ("settings", "grid", "all_tables"), path, where)
    all_tables = part.get("all_tables", False)
    if not isinstance(all_tables, bool):
        raise UserError(f"{path}: {where}.all_tables must be true or false, not {all_tables!r}")
    grid = _mapping(part, "grid", path)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: {where}.grid.{key} must be a list of values, not {values!r}")
    points = tuple(dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values()))
    return Method(name, _mapping(part, "settings", path), points, all_tables)


def _mapping(part: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = part.get(key) or {}
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: {key} must be a mapping, not {value!r}")
    return value


def _only(part: Any, known: tuple[str, ...], path: Path, where: str) -> None:
    if not isinstance(part, Mapping):
        raise UserError(f"{path}: {where or 'the file'} must be a mapping, not {part!r}")
    for key in part:
        if key not in known:
            raise UserError(f"{path}: {where + '.' if where else ''}{key}: unknown key{did_you_mean(str(key), known)}")
