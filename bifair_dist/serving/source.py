"""Where the service's model comes from, and which version is the current one there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.model_folder import CONFIG, is_model, read_model
from bifair_dist.serving.recommender import Recommender

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

REGISTERED = "models:/"


class Version(Protocol):
    """What a source serves now."""

    @property
    def name(self) -> str:
        """Shown in every answer; another one for every other version."""

    def load(self) -> Recommender:
        """Read everything that requests need. Raises `UserError` where it is damaged."""


class Source(Protocol):
    """A place whose version may change."""

    def current(self) -> Version:
        """The version that is there now; reads no vectors. Raises `UserError` where there is none."""


@dataclass(frozen=True, slots=True)
class FolderVersion:
    """A finished run or an exported model, in the folder that a link pointed to when it was looked at."""

    folder: Path
    written: int
    """When its last file was written: nanoseconds since 1970."""

    @property
    def name(self) -> str:
        """The folder's name and that time."""
        return f"{self.folder.name}@{self.written}"

    def load(self) -> Recommender:
        """As `Version.load`."""
        model = read_model(self.folder) if is_model(self.folder) else recommender_of(self.folder)
        return _whole(model)


@dataclass(frozen=True, slots=True)
class Folder:
    """A run folder, an exported model folder, or a link to either, which may be pointed elsewhere."""

    path: Path

    def current(self) -> FolderVersion:
        """As `Source.current`."""
        folder = Path(os.path.realpath(self.path.expanduser()))
        last = folder / CONFIG if is_model(folder) else Run.finished_in(folder, "run").metrics_file
        return FolderVersion(folder, last.stat().st_mtime_ns)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered MLflow model."""

    model: str
    number: str
    registry: str

    @property
    def name(self) -> str:
        """The model's name and the version's number."""
        return f"{self.model}/{self.number}"

    def load(self) -> Recommender:
        """As `Version.load`; copies the model's artifacts from a server where they are on one."""
        from mlflow.artifacts import download_artifacts

        try:
            folder = download_artifacts(f"{REGISTERED}{self.name}", tracking_uri=self.registry or None)
        except Exception as error:
            raise UserError(f"run: {REGISTERED}{self.name}: {_reason(error)}") from None
        return _whole(read_model(Path(folder) / "artifacts" / "recommender"))


@dataclass(frozen=True, slots=True)
class Registered:
    """`NAME@ALIAS` or `NAME/VERSION` in MLflow's registry; an alias may be set to another version."""

    place: str
    registry: str

    def current(self) -> RegisteredVersion:
        """As `Source.current`."""
        model, at, alias = self.place.partition("@")
        if not at:
            model, _, number = self.place.rpartition("/")
        try:
            if at:
                number = self._client().get_model_version_by_alias(model, alias).version
            else:
                self._client().get_model_version(model, number)
        except Exception as error:
            raise UserError(f"run: {REGISTERED}{self.place}: {_reason(error)}") from None
        return RegisteredVersion(model, str(number), self.registry)

    def _client(self) -> MlflowClient:
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.registry or None, self.registry or None)


def source_of(run: str, registry: str = "") -> Source:
    """The source that `run` names (`ServeSettings.run`). Raises `UserError` for a registered model without version."""
    if not run.startswith(REGISTERED):
        return Folder(Path(run))
    place = run.removeprefix(REGISTERED)
    name, _, version = place.partition("@") if "@" in place else place.rpartition("/")
    if not name or not version:
        raise UserError(f"run: {run}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    return Registered(place, registry)


def _whole(model: Recommender) -> Recommender:
    """With what lists for histories need, so that the first of them does not wait for it."""
    assert model.unseen is not None
    return model


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
