"""The records of one MLflow run: parameters, metrics, tables, artifacts, the machine's load."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

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
            print(f"warning: MLflow does not record the machine's load: {reason(error)}", file=sys.stderr)

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
                print(f"warning: MLflow refused '{entries[0].key[:100]}': {reason(error)}", file=sys.stderr)
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
            print(f"warning: MLflow stopped: {reason(error)}; the job goes on without it", file=sys.stderr)
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


def reason(error: Exception) -> str:
    """An error's first line, for a warning."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
