"""The finished run as an MLflow model: signature, example, registration; for `mlflow models serve` and the service."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import metadata
from io import StringIO
from pathlib import Path

import bifair_dist
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.model_folder import write_model
from bifair_dist.serving.recommender import Recommender
from bifair_dist.tracking import RUN_ID_FILE, tracking_uri
from bifair_dist.training.settings import TrainSettings

NAME = "model"
PACKAGES = ("mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch")
"""What serving needs; Ray is not among it."""


def keep_model(settings: TrainSettings, run: Path) -> None:
    """The model among the run's artifacts, registered where `tracking.register_as` names it. Never raises: the run is
    there, whatever comes of this.
    """
    tracking = settings.tracking
    if not tracking.enabled or not tracking.model or not (run / RUN_ID_FILE).is_file():
        return
    try:
        version = log_model(run, tracking_uri(tracking, run.parent), tracking.register_as)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"warning: MLflow has no model of this run: {reason}", file=sys.stderr)
    else:
        if version:
            print(f"registered as version {version} of the MLflow model {tracking.register_as!r}", flush=True)


def log_model(run: Path, uri: str, register: str = "") -> str:
    """Log the model to the run's MLflow run; the version it was registered as, if it was."""
    import mlflow

    model = recommender_of(run)
    with tempfile.TemporaryDirectory() as place, _in_run(uri, (run / RUN_ID_FILE).read_text().strip()):
        folder = Path(place) / "recommender"
        folder.mkdir()
        write_model(model, folder, {"run": run.name})
        info = mlflow.pyfunc.log_model(
            name=NAME,
            registered_model_name=register or None,
            python_model=str(Path(__file__).with_name("pyfunc.py")),
            artifacts={"recommender": str(folder)},
            code_paths=[str(Path(bifair_dist.__file__).parent)],
            pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in PACKAGES],
            **_form(model),
        )
    return str(info.registered_model_version or "")


def _form(model: Recommender) -> dict[str, object]:
    """Signature and input example."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    text = DataType.string
    ids = Array(text)
    signature = ModelSignature(
        inputs=Schema(
            [
                ColSpec(text, "user_id", required=False),
                ColSpec(ids, "history", required=False),
                ColSpec(ids, "leave_out", required=False),
            ]
        ),
        outputs=Schema([ColSpec(ids, "items"), ColSpec(ids, "titles"), ColSpec(Array(DataType.double), "scores")]),
        params=ParamSchema([ParamSpec("k", DataType.long, 20)]),
    )
    example = pd.DataFrame({"user_id": [str(model.user_ids[0])], "leave_out": [[str(model.item_ids[0])]]})
    return {"signature": signature, "input_example": (example, {"k": 20})}


@contextmanager
def _in_run(uri: str, run_id: str) -> Iterator[None]:
    """MLflow's own calls go to that run meanwhile, in silence; it has ended, and stays ended, whatever happens here."""
    import mlflow

    before, failure = mlflow.get_tracking_uri(), None
    loggers = [logging.getLogger(name) for name in ("mlflow.pyfunc", "mlflow.tracking", "mlflow.store")]
    levels = [logger.level for logger in loggers]
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(uri)
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with mlflow.start_run(run_id=run_id, nested=True, log_system_metrics=False), redirect_stderr(StringIO()):
            try:
                yield
            except Exception as error:  # would mark the run as failed
                failure = error
        if failure is not None:
            raise failure
    finally:
        mlflow.set_tracking_uri(before)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
