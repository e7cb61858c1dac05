"""From settings to a finished run: refuse what cannot work, fill in the data, make the run folder, start workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bifair_dist.errors import Interrupted, UserError
from bifair_dist.progress import duration
from bifair_dist.runs import Run
from bifair_dist.runs.text import before_after
from bifair_dist.tracking import close_tracker
from bifair_dist.training.checks import check_before
from bifair_dist.training.inputs import with_data
from bifair_dist.training.lease import Lease, Owner, check_fence
from bifair_dist.training.provenance import write_provenance
from bifair_dist.training.run_folder import open_run_folder, remove_if_untouched
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.worker import train_worker
from bifair_dist.workers.ray_train import FitOptions
from bifair_dist.workers.run import run_workers
from bifair_dist.workers.torchrun import on_first, torchrun_worker
from bifair_dist.workers.worker import Worker

Finish = Callable[[TrainSettings, Path], None]


@dataclass(frozen=True, slots=True)
class Begun:
    """A run folder, ready to train in. `owner` None: its run is finished already. `new`: made by this process."""

    settings: TrainSettings
    folder: Path
    owner: Owner | None
    new: bool


def train(
    settings: TrainSettings, callbacks: Sequence[Any] = (), *, table: bool = True, finish: Finish = lambda *_: None
) -> Path:
    """Run a whole training, or the rest of one that was cut off, and print its table; returns the run folder.

    `callbacks` are Ray Train's, for a training on Ray; without `table` it ends in silence; with it
    `finish` gets the settings and the run folder of a run that has just ended. Raises `UserError` for bad
    input, `Interrupted` after Ctrl-C.
    """
    start = time.monotonic()
    with torchrun_worker(settings.cluster) as me, ExitStack() as held:
        begun = on_first(me, partial(_begin, settings, held))
        if begun.owner is not None:
            _train(begun, begun.owner, me, callbacks)
        speaks = me is None or me.is_first  # asked while the process group is there
    if table and speaks:
        _conclude(begun, time.monotonic() - start, finish)
    return begun.folder


def _begin(settings: TrainSettings, held: ExitStack) -> Begun:
    """Prepare everything once; the lease on the run folder stays with `held`."""
    check_before(settings)
    settings = with_data(settings)
    folder, new = open_run_folder(settings)
    print(f"run folder: {folder}", flush=True)
    if Run(folder).finished:
        print("this run is finished already", flush=True)
        return Begun(settings, folder, None, new)
    try:
        lease = held.enter_context(Lease(folder))
        write_provenance(folder, settings)
    except BaseException:
        if new:
            remove_if_untouched(folder)
        raise
    return Begun(settings, folder, lease.owner, new)


def _train(begun: Begun, owner: Owner, me: Worker | None, callbacks: Sequence[Any]) -> None:
    run = Run(begun.folder)
    body = partial(train_worker, begun.settings, begun.folder, owner)
    options = FitOptions(begun.folder / "ray_train", run.log_file, callbacks, f"attempt-{owner.attempt}")
    try:
        run_workers(body, begun.settings.cluster, me=me, on_ray=options)
    except BaseException as error:
        if me is None or me.is_first:
            _ended_early(begun, run, error)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(
                f"interrupted; the same command with --training.run_name {run.name} goes on from the last checkpoint"
            ) from None
        raise


def _ended_early(begun: Begun, run: Run, error: BaseException) -> None:
    """Leave the reason in the log and in MLflow, and no folder of a run that trained nothing.

    A run that another driver has taken over is left as it is.
    """
    if begun.owner is not None:
        try:
            check_fence(begun.folder, begun.owner.token)
        except UserError:
            return
    interrupted = isinstance(error, KeyboardInterrupt)
    close_tracker(begun.settings.tracking, begun.folder, "KILLED" if interrupted else "FAILED")
    if begun.new and not run.log_file.exists():
        remove_if_untouched(begun.folder)
    elif interrupted or isinstance(error, UserError):
        run.append_log("interrupted" if interrupted else f"error: {error}")


def _conclude(begun: Begun, seconds: float, finish: Finish) -> None:
    """The table of accuracy and fairness on the test pairs, and what follows on a new run."""
    print(f"\n{before_after(Run(begun.folder).metrics, begun.settings.balance.tables)}", flush=True)
    if begun.owner is None:
        return
    finish(begun.settings, begun.folder)
    print(f"\nfinished in {duration(seconds)}; everything is in {begun.folder}", flush=True)
