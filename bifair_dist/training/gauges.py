"""Gauges of a training on Ray, for Prometheus and Grafana (`cluster/grafana-training.json`); elsewhere nothing.

Ray exports them as `ray_<name>`, on the machine of the first worker, for as long as that worker lives.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from bifair_dist.runs import Validation
from bifair_dist.runs.figures import GROUPS

NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "bifair_validation_accuracy": ("accuracy on validation pairs, such as recall@20 and ndcg@20", ("metric",)),
    "bifair_validation_cv": ("coefficient of variation of recall over a group table; lower is fairer", ("table",)),
    "bifair_validation_min": ("mean recall of the lowest quarter of a group table; higher is fairer", ("table",)),
    "bifair_training_loss": ("mean loss of a training pair since the last validation", ()),
    "bifair_group_loss": (f"running loss of a group of the balanced table, of at most {GROUPS}", ("group",)),
    "bifair_step": ("steps done", ()),
    "bifair_step_seconds": ("seconds a step since the last validation", ()),
    "bifair_exchange_bytes_per_step": ("bytes a step that the first worker sent to others, validation included", ()),
}
"""Description and labels of each; all of them have the label `run`, too."""


class Gauges:
    """The gauges of one run, where this process is a part of a Ray cluster."""

    def __init__(self, run: str) -> None:
        self._run, self._sent, self._step = run, 0, 0
        self._gauges: dict[str, Any] = {}
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return
        from ray.util.metrics import Gauge

        self._gauges = {
            name: Gauge(name, description, ("run", *labels)) for name, (description, labels) in NAMES.items()
        }

    def begin(self, step: int, sent: int) -> None:
        """A phase begins after `step` steps, when this worker had sent `sent` bytes."""
        self._step, self._sent = step, sent

    def set(self, validation: Validation, labels: Mapping[str, tuple[str, ...]], steps: int, sent: int) -> None:
        """Show a validation. `labels`: of the balanced groups; `steps`: in an epoch; `sent`: bytes so far."""
        since, validation_bytes = validation.step - self._step, sent - self._sent
        self.begin(validation.step, sent)
        if not self._gauges:
            return
        found = [
            *_figures(validation, labels),
            ("bifair_step_seconds", {}, validation.seconds_per_epoch / max(steps, 1)),
        ]
        if since > 0:
            found.append(("bifair_exchange_bytes_per_step", {}, validation_bytes / since))
        for name, tags, value in found:
            if value is not None:
                self._gauges[name].set(float(value), {"run": self._run, **tags})


def _figures(
    validation: Validation, labels: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, dict[str, str], float | None]]:
    for metric, value in validation.valid.accuracy.items():
        yield "bifair_validation_accuracy", {"metric": metric}, value
    for table, figures in validation.valid.groups.items():
        yield "bifair_validation_cv", {"table": table}, figures.cv
        yield "bifair_validation_min", {"table": table}, figures.minimum
    yield "bifair_training_loss", {}, validation.loss
    yield "bifair_step", {}, validation.step
    named = labels.get(validation.group, ())
    if len(named) <= GROUPS:
        for group, loss in zip(named, validation.group_losses or (), strict=False):
            yield "bifair_group_loss", {"group": group}, loss
