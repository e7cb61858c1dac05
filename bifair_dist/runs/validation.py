"""A line of `history.jsonl`: what one validation found, and how the training stood then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bifair_dist.runs.summary import Figure, Summary


@dataclass(frozen=True, slots=True)
class Start:
    """Validation figures of the state that the fair phases started from: accuracy `metric`, `spread`'s CV and MIN."""

    metric: str
    value: float
    cv: Figure
    minimum: Figure

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Start:
        """From `{"recall@20": .., "cv": .., "min": ..}`."""
        metric = next(name for name in record if "@" in name)
        return cls(metric, record[metric], record["cv"], record["min"])

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {self.metric: self.value, "cv": self.cv, "min": self.minimum}


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation. Runs of earlier versions lack the fields that have a default.

    epoch, epochs: of the phase, done and at most; step: of the run; seconds: of the run so far, those before a cut
    included; loss: mean over the training pairs since the last validation; best: whether the phase's best so far;
    patience_left: validations without a better one until the phase ends; v_norm, perturbation: |v| and epsilon of the
    last step's hypergradient; weights, group_losses: by label of the balanced table `group`, None in a plain phase;
    z_drift: ||Z - Z0|| / ||Z0||; began_with: figures of the state before the fair phases, None in a plain phase; fit:
    R^2 of the last step's fit, None with full propagation; strength: of fairness, until now; harmed: group tables that
    are not balanced and whose CV is clearly above what the fair phases began with.
    """

    phase: str
    epoch: int
    step: int
    loss: float
    best: bool
    valid: Summary
    epochs: int = 0
    seconds_per_epoch: float = 0.0
    seconds: float = 0.0
    patience_left: int = 0
    v_norm: float = 0.0
    perturbation: float = 0.0
    weights: Sequence[float] | None = None
    group_losses: Sequence[Figure] | None = None
    group: str = ""
    moves_z: bool = False
    z_drift: float | None = None
    began_with: Start | None = None
    fit: float | None = None
    strength: float | None = None
    harmed: Sequence[str] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Validation:
        """From a parsed line; keys of another version are passed over. Raises `KeyError` for something else."""
        known = {name: value for name, value in record.items() if name in cls.__dataclass_fields__}
        start = known.get("began_with")
        known |= {"valid": Summary.from_json(record["valid"]), "began_with": start and Start.from_json(start)}
        known["harmed"] = tuple(record.get("harmed", ()))
        missing = [name for name in ("phase", "epoch", "step", "loss", "best") if name not in known]
        if missing:
            raise KeyError(missing[0])
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it, in the order of the fields."""
        start = None if self.began_with is None else self.began_with.to_json()
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "began_with": start, "harmed": list(self.harmed), "valid": self.valid.to_json()}


def best_so_far(history: Sequence[Validation]) -> Validation:
    """The validation whose state the run would keep if it ended now: the best one of the phase that it is in.

    One validation's recall differs from the next one's by as much as the constraint allows it to fall (a percent), so
    that a trial judged by its latest validation would be stopped, or learnt from, for the noise of that one.
    """
    return next(v for v in reversed(history) if v.best and v.phase == history[-1].phase)


def flat_numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """Numbers of a nested JSON record under names joined by `/`, as MLflow takes them; the rest is left out."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(i), v) for i, v in enumerate(value))  # type: ignore[assignment]
    else:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return {prefix: float(value)} if number else {}
    return {
        k: v for name, part in items for k, v in flat_numbers(part, f"{prefix}/{name}" if prefix else str(name)).items()
    }
