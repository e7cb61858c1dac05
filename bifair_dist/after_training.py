"""What a training leaves beside its run folder: the report and the MLflow model. Handed to `training.launch.train`,
which knows neither of them."""

from __future__ import annotations

from pathlib import Path

from bifair_dist.training.settings import TrainSettings


def publish(settings: TrainSettings, folder: Path) -> None:
    """Write the report and keep the model of a run that has just ended. Never raises: the run is there."""
    from bifair_dist.report.report import report_of_training  # at the end, not before the first epoch
    from bifair_dist.serving.mlflow_model import keep_model

    report_of_training(settings, folder)
    keep_model(settings, folder)
