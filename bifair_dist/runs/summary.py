"""`metrics.json`: the figures of one state of a model, on validation and test pairs.

Figures that an earlier version did not write are None or empty. None also stands for a figure that is not defined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bifair_dist.errors import UserError

Figure = float | None


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """One group table. Utilities are recall@K and NDCG@K by label; `cv` and `minimum` are of recall.

    `empty`: labels in which no user has a pair to find, left out of CV and MIN. `exposure` (share of the list places
    by label), `mmf` (max-min fairness of exposure) and `exposure_ratio` (that share over the share of training pairs)
    exist for item groups only.
    """

    cv: Figure = None
    minimum: Figure = None
    utility: Mapping[str, Figure] = field(default_factory=dict)
    ndcg_cv: Figure = None
    ndcg_minimum: Figure = None
    ndcg_utility: Mapping[str, Figure] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    exposure: Mapping[str, Figure] | None = None
    mmf: Figure = None
    exposure_ratio: Mapping[str, Figure] | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> GroupFigures:
        """From the entry of one group table."""
        return cls(
            cv=record.get("cv"),
            minimum=record.get("min"),
            utility=record.get("utility", {}),
            ndcg_cv=record.get("ndcg_cv"),
            ndcg_minimum=record.get("ndcg_min"),
            ndcg_utility=record.get("ndcg_utility", {}),
            empty=tuple(record.get("empty", ())),
            exposure=record.get("exposure"),
            mmf=record.get("mmf"),
            exposure_ratio=record.get("exposure_ratio"),
        )

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        record: dict[str, Any] = {
            "cv": self.cv,
            "min": self.minimum,
            "utility": dict(self.utility),
            "ndcg_cv": self.ndcg_cv,
            "ndcg_min": self.ndcg_minimum,
            "ndcg_utility": dict(self.ndcg_utility),
            "empty": list(self.empty),
        }
        if self.exposure is not None:
            record |= {"exposure": dict(self.exposure), "mmf": self.mmf}
        if self.exposure_ratio is not None:
            record["exposure_ratio"] = dict(self.exposure_ratio)
        return record


@dataclass(frozen=True, slots=True)
class Summary:
    """One state on one split. `accuracy`: by name with the cut-off, such as `recall@20`, in the order of the file.

    `users`: how many were measured. `gini` and `coverage` are of the items' exposure over the whole catalogue,
    `average_popularity` (training pairs of what is shown) and `tail_coverage` compare it with training.
    """

    accuracy: Mapping[str, Figure]
    groups: Mapping[str, GroupFigures] = field(default_factory=dict)
    users: int = 0
    gini: Figure = None
    coverage: Figure = None
    average_popularity: Figure = None
    tail_coverage: Figure = None

    @property
    def recall(self) -> float:
        """Recall at the run's K; nan where it is not defined."""
        return self._named("recall@")

    @property
    def ndcg(self) -> float:
        """NDCG at the run's K; nan where it is not defined."""
        return self._named("ndcg@")

    def _named(self, prefix: str) -> float:
        value = next(value for name, value in self.accuracy.items() if name.startswith(prefix))
        return float("nan") if value is None else value

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Summary:
        """From an entry of `metrics.json`, or the `valid` of a line of `history.jsonl`."""
        return cls(
            accuracy={name: value for name, value in record.items() if "@" in name},
            groups={name: GroupFigures.from_json(entry) for name, entry in record.get("groups", {}).items()},
            users=record.get("users", 0),
            gini=record.get("gini"),
            coverage=record.get("coverage"),
            average_popularity=record.get("average_popularity"),
            tail_coverage=record.get("tail_coverage"),
        )

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            **self.accuracy,
            "users": self.users,
            "groups": {name: figures.to_json() for name, figures in self.groups.items()},
            "gini": self.gini,
            "coverage": self.coverage,
            "average_popularity": self.average_popularity,
            "tail_coverage": self.tail_coverage,
        }


def spread(summary: Summary, tables: Sequence[str]) -> tuple[Figure, Figure]:
    """(CV, MIN) of a group table; of several tables the means. None where one is not defined."""
    found = [summary.groups[name] for name in tables]
    return _mean([figures.cv for figures in found]), _mean([figures.minimum for figures in found])


def _mean(values: Sequence[Figure]) -> Figure:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class Metrics:
    """The whole of `metrics.json`. `before`: the state that the fair phases started from, None without such phases.

    `tested`: figures on the test pairs, None of a run that is not tested (`training.test`).
    """

    valid: Summary
    tested: Summary | None
    before: Metrics | None = None

    @property
    def test(self) -> Summary:
        """The test figures. Raises `UserError` where the run is not tested."""
        if self.tested is None:
            raise UserError(
                "this run has no test figures, as trials of a sweep have none; --tune.confirm tests the chosen setting"
            )
        return self.tested

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Metrics:
        """From the file's content. Raises `KeyError`, `TypeError` or `AttributeError` for something else."""
        before, valid = record.get("before"), Summary.from_json(record["valid"])
        if not valid.accuracy and "test" not in record:
            raise KeyError("recall")
        return cls(
            valid=valid,
            tested=Summary.from_json(record["test"]) if "test" in record else None,
            before=None if before is None else cls.from_json(before),
        )

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        record = {"valid": self.valid.to_json()} | ({} if self.tested is None else {"test": self.tested.to_json()})
        return record if self.before is None else {**record, "before": self.before.to_json()}
