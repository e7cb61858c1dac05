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
