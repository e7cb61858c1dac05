"""Settings of the service: what is served, where, and how much one request may ask for."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, section, setting


class ServiceSettings(Settings):
    """Processes, address and limits of the service."""

    replicas: int = setting(
        1, "processes that rank; each holds all vectors", unit="processes", why="most of a small machine", ge=1
    )
    threads: int = setting(1, "CPU threads of each of them", unit="threads", why="replicas share the cores", ge=1)
    fronts: int = setting(
        1, "processes that speak HTTP; they hold no vectors", unit="processes", why="one feeds several replicas", ge=1
    )
    host: str = setting(
        "127.0.0.1",
        "address to listen on; that of a network card opens it to that network",
        why="nobody is asked for a password here; open it to others only behind a proxy that asks",
    )
    port: int = setting(8000, "port to listen on", why="Ray Serve's own", ge=1, le=65535)
    address: str = setting(
        "", "Ray cluster; empty: the one RAY_ADDRESS names, else a local one; auto: a running one", unit="address"
    )
    exclude: Literal["all", "valid", "train", "none"] = setting(
        "all",
        "items left out of a known user's list: all that the user has, those in train and valid, those in train, none",
        why="nobody wants to be shown what they have; valid gives the lists of recommendations.parquet",
    )
    max_k: int = setting(
        1000, "longest list that may be asked for", unit="items", why="more is a download, not a page", ge=1
    )
    max_history: int = setting(
        10_000,
        "most ids in a history, and in `exclude`",
        unit="items",
        why="longer than all but a few users of any known data set",
        ge=1,
    )
    max_body: int = setting(
        1_048_576,
        "largest body of a request",
        unit="bytes",
        why="holds the longest history with ids of 50 letters",
        ge=1,
    )
    batch: int = setting(
        32,
        "most requests that are ranked together",
        unit="requests",
        why="one pass over the items ranks them all",
        ge=1,
    )
    batch_wait: float = setting(
        0.005,
        "time that a request waits for others to be ranked with",
        unit="seconds",
        why="nobody sees it, and a busy service fills batches without it",
        ge=0,
    )
    waiting: int = setting(
        1000,
        "requests in the queue of each front; further ones are answered with 503",
        unit="requests",
        why="a few seconds of work; who waits longer has gone",
        ge=1,
    )
    timeout: float = setting(
        30.0,
        "time for an answer, tries on other replicas included; then 503",
        unit="seconds",
        why="longer than a replica takes to start again",
        gt=0,
    )
    poll: float = setting(
        10.0,
        "time between two looks whether a new version is there; 0: never",
        unit="seconds",
        why="soon enough for models that train for hours, and cheap",
        ge=0,
    )


class ServeSettings(Settings):
    """A finished run as a service."""

    run: str = setting(
        "",
        "run folder, exported model folder, or a link to one; or a registered MLflow model, models:/NAME@ALIAS or "
        "models:/NAME/VERSION; or name it before the settings",
        unit="path",
    )
    registry: str = setting("", "MLflow's tracking URI for models:/; empty: MLFLOW_TRACKING_URI", unit="URI")
    serve: ServiceSettings = section(ServiceSettings)
