"""Where MLflow keeps its records."""

from __future__ import annotations

from bifair_dist.settings import Settings, setting


class TrackingSettings(Settings):
    """MLflow: one run for each training."""

    enabled: bool = setting(True, "record the run in MLflow", why="costs milliseconds per validation")
    uri: str = setting(
        "", "tracking URI; empty: an SQLite file mlflow.db in the output folder", unit="URI", why="needs no server"
    )
    experiment: str = setting(
        "bifair", "MLflow experiment that the run belongs to", unit="name", why="the project's name"
    )
    system_metrics: bool = setting(True, "record the load of the first worker's machine", unit="", why="every 10 s")
    model: bool = setting(
        True,
        "keep the model itself among a training's artifacts, ready for mlflow models serve",
        why="as large as the vectors it ranks by and the projector's inputs",
    )
    register_as: str = setting(
        "", "MLflow model that a training's becomes a version of; empty: none", unit="name", why="a decision"
    )
