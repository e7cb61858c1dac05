"""MLflow: one run for each training, written by rank 0 only; the run's id is kept in the run folder.

A restart finds the id and goes on in the same run: parameters that are there are not written again, and metric points
at steps that were already written are left out. Without a URI, records are an SQLite file and a folder of artifacts,
both in the output folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bifair_dist.errors import UserError
from bifair_dist.tracking_settings import TrackingSettings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_ID_FILE = "mlflow_run_id"
_BATCH = 100  # MLflow takes at most 100 parameters and 1,000 metrics in one call
_LONGEST_NAME = 250
_UNSAFE = re.compile(
    r"[^\w\-. /]"  # also @ and :, which stand for something in the name
    r"|_(?=at[_@])"  # or "a_at_b" would be "a@b"
    r"|(?<=/)/|^/|/$"  # an empty part of a path
    r"|(?<![^/])\.(?=\.?(?:/|$))|^\.(?=\.)"  # the parts "." and "..", and a name that begins with ".."
)


class Tracker:
    """A run's records. Used as a context: FINISHED at the end, FAILED after an exception, KILLED after Ctrl-C.

    Without a client (tracking disabled, or not rank 0) every call does nothing. A server that fails in the middle of
    training costs one warning, not the training; one name or value that it refuses costs only itself.
    """

    def __init__(self, client: MlflowClient | None = None, run_id: str = "") -> None:
        self._client, self.run_id = client, run_id
        self._failed = False
        self._monitor: Any = None
        self._known: dict[str, str] = {}
        self._refused: set[str] = set()
        self._last_step: dict[str, int] = {}
        if client is not None:
            data = client.get_run(run_id).data
            self._known = data.params
            self._last_step = {k: max(m.step for m in client.get_metric_history(run_id, k)) for k in data.metrics}

    def params(self, values: Mapping[str, Any]) -> None:
        """Write parameters once; those that the run already has stay as they are."""
        if self._client is None:
            return
        from mlflow.entities import Param

        new = [Param(safe_name(k), str(v)[:6000]) for k, v in values.items() if safe_name(k) not in self._known]
        for start in range(0, len(new), _BATCH):
            self._batch("params", new[start : start + _BATCH])
        self._known |= {p.key: p.value for p in new}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write one point for each metric, at `step`, under its `safe_name`. Points that are nan are left out."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        points = []
        for key, value in values.items():
            name = safe_name(key)
            if step > self._last_step.get(name, -1) and not math.isnan(value):
                points.append(Metric(name, float(value), now, step))
                self._last_step[name] = step
        for start in range(0, len(points), 10 * _BATCH):
            self._batch("metrics", points[start : start + 10 * _BATCH])

    def inputs(self, folders: Mapping[str, tuple[str, str]]) -> None:
        """Record folders of data as MLflow datasets: (path, SHA-256 of its manifest) by the setting that names it."""
        if self._client is None or not folders:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        found = [
            DatasetInput(
                Dataset(
                    name=Path(path).name,
                    digest=sha[:36],  # as long as MLflow takes
                    source_type="local",
                    source=json.dumps({"uri": path}),
                    profile=json.dumps({"setting": key, "sha256 of manifest.json": sha}),
                ),
                [InputTag("mlflow.data.context", key)],
            )
            for key, (path, sha) in folders.items()
        ]
        self._try("log_inputs", found)

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Keep a table, which MLflow shows as one, as the artifact `name` (ending in .json)."""
        self._try("log_table", dict(columns), name)

    def watch_system(self, uri: str) -> None:
        """Record this machine's load every 10 s, until the run ends. Needs no thanks: it never raises."""
        if self._client is None:
            return
        try:
            logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(self.run_id, resume_logging=True, tracking_uri=uri)
            self._monitor.start()
        except Exception as error:
            print(f"warning: MLflow does not record the machine's load: {_reason(error)}", file=sys.stderr)

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Keep a file, or a folder with all in it, among the run's artifacts."""
        path = Path(path)
        self._try("log_artifacts" if path.is_dir() else "log_artifact", str(path), folder)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as FINISHED, FAILED or KILLED; also after a failure, or it would stay RUNNING for ever."""
        if self._monitor is not None:
            self._monitor.finish()
        self._failed = False
        self._try("set_terminated", status=status)
        self._client = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.finish("FINISHED" if kind is None else "KILLED" if interrupted else "FAILED")

    def _batch(self, kind: str, entries: list[Any]) -> None:
        """One call for all entries; where MLflow refuses one of them, one call for each, and a warning for the refused.

        A refused call writes nothing of its batch, so without this one bad name would cost all the others.
        """
        from mlflow.exceptions import MlflowException

        entries = [entry for entry in entries if entry.key not in self._refused]
        if self._client is None or self._failed or not entries:
            return
        client: Any = self._client
        try:
            client.log_batch(self.run_id, **{kind: entries})
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                self._stop(error)
            elif len(entries) == 1:
                self._refused.add(entries[0].key)
                print(f"warning: MLflow refused '{entries[0].key[:100]}': {_reason(error)}", file=sys.stderr)
            else:
                for entry in entries:
                    self._batch(kind, [entry])
        except Exception as error:
            self._stop(error)

    def _try(self, method: str, *arguments: Any, **named: Any) -> None:
        if self._client is None or self._failed:
            return
        try:
            getattr(self._client, method)(self.run_id, *arguments, **named)
        except Exception as error:
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        if not self._failed:
            print(f"warning: MLflow stopped: {_reason(error)}; the job goes on without it", file=sys.stderr)
        self._failed = True


def safe_name(key: str) -> str:
    """`key` as a name that MLflow takes; two keys never share one (over 250 characters it ends in a digest).

    MLflow takes letters, digits and `_-. /:`, but no name that a path would normalise (`a//b`, `a/`, `a/../b`). `@`
    becomes `_at_`; every other character that does not fit becomes `:` and the hex digits of its UTF-8 bytes, as it
    would with `%` in a URL.
    """
    name = _UNSAFE.sub(_escaped, key)
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 34]}::{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"


def _escaped(match: re.Match[str]) -> str:
    if match[0] == "@":
        return "_at_"
    return "".join(f":{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


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
            f"tracking.uri: cannot open {where}: {_reason(error)}; give another, or --tracking.enabled no"
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
        raise UserError(f"tracking.uri: cannot open {settings.uri}: {_reason(error)}") from error
    id_file.write_text(run.info.run_id + "\n")


def tag_run(settings: TrackingSettings, run_folder: Path, tags: Mapping[str, str]) -> None:
    """Tags for the folder's MLflow run, where it has one. Never raises."""
    id_file = run_folder / RUN_ID_FILE
    if not settings.enabled or not id_file.is_file():
        return
    try:
        client = _client(settings, run_folder.parent)
        for key, value in tags.items():
            client.set_tag(id_file.read_text().strip(), key, value)
    except Exception as error:
        print(f"warning: MLflow's run could not be tagged: {_reason(error)}", file=sys.stderr)


def add_artifacts(settings: TrackingSettings, run_folder: Path, names: Sequence[str]) -> None:
    """Keep files of the run folder among its MLflow run's artifacts, where it has one. Never raises."""
    id_file = run_folder / RUN_ID_FILE
    if not settings.enabled or not id_file.is_file():
        return
    try:
        client, run_id = _client(settings, run_folder.parent), id_file.read_text().strip()
        for name in names:
            client.log_artifact(run_id, str(run_folder / name))
    except Exception as error:
        print(f"warning: MLflow did not take {' and '.join(names)}: {_reason(error)}", file=sys.stderr)


def close_tracker(settings: TrackingSettings, run_folder: Path, status: str) -> None:
    """End the folder's MLflow run where it is still RUNNING: its worker was killed and could not. Never raises.

    KILLED also takes the place of FAILED: a worker that is stopped may have seen its end as an error.
    """
    id_file = run_folder / RUN_ID_FILE
    if not settings.enabled or not id_file.is_file():
        return
    try:
        client, run_id = _client(settings, run_folder.parent), id_file.read_text().strip()
        if client.get_run(run_id).info.status in ("RUNNING", "FAILED" if status == "KILLED" else ""):
            client.set_terminated(run_id, status=status)
    except Exception as error:
        print(f"warning: MLflow's run could not be ended as {status}: {_reason(error)}", file=sys.stderr)


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
        temporary = id_file.with_suffix(".part")
        temporary.write_text(run_id + "\n")
        os.replace(temporary, id_file)
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


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
