"""The folder of a run: made, or found and checked before a run goes on in it."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.settings import flatten, load, to_yaml
from bifair_dist.training.settings import TrainSettings

_OUTPUT = ("output", "run_name", "strategy", "report", "test")
_PLACES = ("cluster.", "tracking.", "checkpoint.", "deepspeed.", "data.cache", "model.z_")
MAY_CHANGE = (*_PLACES, *(f"training.{name}" for name in _OUTPUT))
"""Settings under which a run may go on although it began with others: they change no number beyond rounding."""
OF_FAIR_PHASES = ("bilevel.", "balance.", "training.bilevel_epochs")


def free_settings(settings: TrainSettings) -> tuple[str, ...]:
    """The beginnings of the settings that change no number of this training."""
    return MAY_CHANGE if settings.training.balances else (*MAY_CHANGE, *OF_FAIR_PHASES)


def open_run_folder(settings: TrainSettings) -> tuple[Path, bool]:
    """The folder below `training.output`, and whether it is new; a new one has `config.yaml` in it.

    Raises `UserError` where it exists and may not be gone on with: forbidden, no run, or a run with other settings.
    """
    training = settings.training
    dataset = re.sub(r"[^\w.-]+", "-", Path(settings.data.dataset).name)
    name = training.run_name or f"{training.method}-{dataset}-{time.strftime('%Y%m%d-%H%M%S')}"
    if Path(name).name != name or name in (".", ".."):
        raise UserError(f"training.run_name: {name!r} is not a plain folder name; leave out slashes")
    folder = Path(training.output).expanduser().absolute() / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        _check_same(settings, folder)
        return folder, False
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another --training.output") from None
    Run(folder).write_config(to_yaml(settings))
    return folder, True


def remove_if_untouched(folder: Path) -> None:
    """A run that failed before anything was trained leaves no folder in the way of the next try."""
    if not Run(folder).log_file.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _check_same(settings: TrainSettings, folder: Path) -> None:
    if settings.checkpoint.resume == "never":
        raise UserError(f"{folder}: this run exists; choose another --training.run_name, or remove it")
    run = Run(folder)
    if not run.exists:
        if any(folder.iterdir()):
            raise UserError(f"{folder}: exists and is no run (it has no config.yaml); choose another name")
        run.write_config(to_yaml(settings))  # cut off while it was made
    then, now = flatten(load(TrainSettings(), run.config_file)), flatten(settings)
    free = free_settings(settings)
    other: list[tuple[str, Any, Any]] = [
        (key, then[key], now[key]) for key in now if then[key] != now[key] and not key.startswith(free)
    ]
    if other:
        key, old, new = other[0]
        more = f" ({len(other) - 1} more differ)" if len(other) > 1 else ""
        raise UserError(
            f"{folder}: this run began with {key} = {old!r}, not {new!r}{more}; give the same settings to go on with "
            "it, or another --training.run_name to start a new one"
        )
