"""A sweep's news: a line for each validation and each end of a trial, with the rate and what is left."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback

from bifair_dist.progress import time_left


class Lines(Callback):
    """In place of Ray Tune's tables, which are as wide as the settings are many. `total`: trials in all."""

    def __init__(self, total: int) -> None:
        self.total, self.start, self.here = total, time.monotonic(), 0

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:
        """Called by Ray Tune before the first trial."""
        self.start, self.here = time.monotonic(), 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins."""
        config = "  ".join(f"{k.rpartition('.')[2]}={_short(v)}" for k, v in trial.config.items())
        print(f"{trial.trial_id}  starts: {config}", flush=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A validation, or the end of the training."""
        if "recall" in result:
            when = "kept" if "kept" in result else f"validation {result['training_iteration']}; best so far"
            figures = f"recall {result['recall']:.4f}  CV {result['cv']:.4f}  J {result['objective']:.4f}"
            print(f"{trial.trial_id}  {when}: {figures}", flush=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, or was stopped."""
        self._end(trials, trial, "ends")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed."""
        self._end(trials, trial, "failed")

    def _end(self, trials: list[Any], trial: Any, how: str) -> None:
        self.here += 1
        done = sum(t.status in ("TERMINATED", "ERROR") or t is trial for t in trials)
        spent = time.monotonic() - self.start
        print(
            f"{trial.trial_id}  {how}; {done} of {self.total} trials, {60 * self.here / spent:.2f} a minute, "
            f"about {time_left(self.here, self.here + self.total - done, spent)} left",
            flush=True,
        )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
