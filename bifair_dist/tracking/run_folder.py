"""The MLflow run that belongs to a run folder: opened, found again, tagged, closed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bifair_dist.errors import UserError
from bifair_dist.files import write_text
from bifair_dist.tracking.tracker import Tracker, reason, safe_name
from bifair_dist.tracking_settings import TrackingSettings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_ID_FILE = "mlflow_run_id"


def open_tracker(settings: TrackingSettings, run_folder: str | Path, rank: int = 0, name: str = "") -> Tracker:
    """The tracker of the training that writes to `run_folder`: a new MLflow run, or the one this folder already has.

    Only rank 0 writes. `name` is the MLflow run's, the folder's unless given.
    Raises `UserError` where the tracking server or file cannot be opened.
    """
    if not settings.enabled or rank != 0:
        return Tracker()
    run_folder = Path(run_folder).absolute()
    run_folder.mkdir(parents=True, exist_ok=True)
    _quiet()
    try:
        with _one_at_a_time(run_folder.parent if not settings.uri else None):
            tracker = _open(settings, run_folder, name or run_folder.name)
        if settings.system_metrics:
            tracker.watch_system(tracking_uri(settings, run_folder.parent))
        return tracker
    except Exception as error:
        where = settings.uri or run_folder.parent / "mlflow.db"
        raise UserError(
            f"tracking.uri: cannot open {where}: {reason(error)}; give another, or --tracking.enabled no"
        ) from error


def open_child(settings: TrackingSettings, run_folder: Path, parent: str, name: str) -> None:
    """An MLflow run below the run `parent`, for the training that will write to `run_folder`; once for each folder.

    The experiment is the parent's. Raises `UserError` where the tracking server or file cannot be opened.
    """
    id_file = run_folder / RUN_ID_FILE
    if not settings.enabled or not parent or id_file.is_file():
        return
    _quiet()
    try:
        client = _client(settings, run_folder.parent)
        experiment = client.get_run(parent).info.experiment_id
        run = client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": parent})
    except Exception as error:
        raise UserError(f"tracking.uri: cannot open {settings.uri}: {reason(error)}") from error
    id_file.write_text(run.info.run_id + "\n")


def tag_run(
    settings: TrackingSettings, run_folder: Path, tags: Mapping[str, str], metrics: Mapping[str, float] | None = None
) -> None:
    """Tags and single figures for the folder's MLflow run, where it has one. Never raises."""

    def tag(client: MlflowClient, run_id: str) -> None:
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
        for key, figure in (metrics or {}).items():
            client.log_metric(run_id, safe_name(key), figure)

    _on_run(settings, run_folder, tag, "MLflow's run could not be tagged")


def add_artifacts(settings: TrackingSettings, run_folder: Path, names: Sequence[str]) -> None:
    """Keep files of the run folder among its MLflow run's artifacts, where it has one. Never raises."""

    def add(client: MlflowClient, run_id: str) -> None:
        for name in names:
            client.log_artifact(run_id, str(run_folder / name))

    _on_run(settings, run_folder, add, f"MLflow did not take {' and '.join(names)}")


def close_tracker(settings: TrackingSettings, run_folder: Path, status: str) -> None:
    """End the folder's MLflow run where it is still RUNNING: its worker was killed and could not. Never raises.

    KILLED also takes the place of FAILED: a worker that is stopped may have seen its end as an error.
    """

    def close(client: MlflowClient, run_id: str) -> None:
        if client.get_run(run_id).info.status in ("RUNNING", "FAILED" if status == "KILLED" else ""):
            client.set_terminated(run_id, status=status)

    _on_run(settings, run_folder, close, f"MLflow's run could not be ended as {status}")


def _on_run(
    settings: TrackingSettings, run_folder: Path, act: Callable[[MlflowClient, str], None], failed: str
) -> None:
    """Act on the folder's MLflow run, where it has one; a failure is a warning."""
    id_file = run_folder / RUN_ID_FILE
    if not settings.enabled or not id_file.is_file():
        return
    try:
        act(_client(settings, run_folder.parent), id_file.read_text().strip())
    except Exception as error:
        print(f"warning: {failed}: {reason(error)}", file=sys.stderr)


def _client(settings: TrackingSettings, output: Path) -> MlflowClient:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(settings, output))


def tracking_uri(settings: TrackingSettings, output: Path) -> str:
    """Where the records of runs in the folder `output` are."""
    return settings.uri or f"sqlite:///{output / 'mlflow.db'}"


def _open(settings: TrackingSettings, run_folder: Path, name: str) -> Tracker:
    output = run_folder.parent
    client = _client(settings, output)
    experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is not None:
        experiment_id = experiment.experiment_id
    else:
        beside = None if settings.uri else (output / "mlflow_artifacts").as_uri()
        experiment_id = client.create_experiment(settings.experiment, artifact_location=beside)
    id_file = run_folder / RUN_ID_FILE
    run_id = id_file.read_text().strip() if id_file.is_file() else ""
    if run_id and _is_there(client, run_id):
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = client.create_run(experiment_id, run_name=name).info.run_id
        write_text(id_file, run_id + "\n")
    return Tracker(client, run_id)


def _is_there(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # another store, or the run was deleted
            return False
        raise


@contextlib.contextmanager
def _one_at_a_time(folder: Path | None) -> Iterator[None]:
    """Hold a lock file: two processes that create the same SQLite tables at once would fail."""
    if folder is None:
        yield
        return
    with (folder / ".mlflow.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _quiet() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
