"""Where MLflow keeps its records."""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.config.settings import Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSettings(Settings):
    """MLflow: one run for each training."""

    enabled: bool = setting(True, "record the run in MLflow", why="costs milliseconds per validation")
    uri: str = setting(
        "", "tracking URI; empty: an SQLite file mlflow.db in the output folder", unit="URI", why="needs no server"
    )
    experiment: str = setting(
        "bifair", "MLflow experiment that the run belongs to", unit="name", why="the project's name"
    )
    model: bool = setting(
        True, "keep the model itself among a training's artifacts, ready for mlflow models serve",
        why="as large as the vectors it ranks by and the projector's inputs",
    )  # fmt: skip
    register: str = setting("", "MLflow model that a training's becomes a version of; empty: none", unit="name")
