"""A run folder (docs/files.md): the one place that knows its files, reads them and writes them.

Nothing is kept in memory: each property reads its file again, so that a run can be looked at while it trains.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bifair_dist.errors import UserError
from bifair_dist.files import write_json, write_text
from bifair_dist.runs.provenance import Provenance
from bifair_dist.runs.summary import Metrics
from bifair_dist.runs.validation import Validation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """The run in `folder`, begun or finished. Everything that parses a file raises `UserError` where it is damaged."""

    folder: Path

    @classmethod
    def of(cls, folder: str | Path, setting: str = "") -> Run:
        """The run in a folder that a person named, in `setting`. Raises `UserError` where there is none."""
        run = cls(Path(folder).expanduser())
        if not folder or not run.exists:
            said = f"{setting}: " if setting else ""
            raise UserError(f"{said}{str(folder)!r} is no run folder (it has no config.yaml); give the folder of a run")
        return run

    @classmethod
    def finished_in(cls, folder: str | Path, setting: str = "") -> Run:
        """As `of`; a run that has not ended raises `UserError`, too."""
        run = cls.of(folder, setting)
        if not run.finished:
            raise UserError(f"{run.folder}: this run is not finished; the command that began it goes on with it")
        return run

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config_file.is_file()

    @property
    def finished(self) -> bool:
        """Whether the run came to its end: `metrics.json` is written last."""
        return self.metrics_file.is_file()

    @property
    def config_file(self) -> Path:
        """`config.yaml`: all settings, as they were resolved."""
        return self.folder / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """`metrics.json`."""
        return self.folder / "metrics.json"

    @property
    def history_file(self) -> Path:
        """`history.jsonl`: a line for each validation."""
        return self.folder / "history.jsonl"

    @property
    def log_file(self) -> Path:
        """`train.log`: the lines for a person."""
        return self.folder / "train.log"

    @property
    def provenance_file(self) -> Path:
        """`provenance.json`."""
        return self.folder / "provenance.json"

    @property
    def recommendations(self) -> Path:
        """`recommendations.parquet`: the lists of the test, a row for each user and place."""
        return self.folder / "recommendations.parquet"

    @property
    def recommendations_before(self) -> Path:
        """The lists of the state that the fair phases started from; there only for runs that have such phases."""
        return self.folder / "recommendations_before.parquet"

    @property
    def item_vectors(self) -> Path:
        """`item_representations/`: Z, a representations folder."""
        return self.folder / "item_representations"

    @property
    def user_vectors(self) -> Path:
        """`user_embeddings/`: a representations folder, of methods that learn user vectors only."""
        return self.folder / "user_embeddings"

    @property
    def serving(self) -> Path:
        """`serving/`: vectors of items and users whose inner products are the model's scores."""
        return self.folder / "serving"

    @property
    def projector(self) -> Path:
        """`projector.safetensors`: theta by name."""
        return self.folder / "projector.safetensors"

    @property
    def checkpoints(self) -> Path:
        """`checkpoints/`, where they are kept in the run folder."""
        return self.folder / "checkpoints"

    @property
    def report(self) -> Path:
        """`report.html`."""
        return self.folder / "report.html"

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """`config.yaml` as nested mappings; the training's settings are made from it in `training/`."""
        import yaml  # not needed by the records, which the mathematics uses

        try:
            found = yaml.safe_load(_text(self.config_file))
        except yaml.YAMLError as error:
            raise UserError(f"{self.config_file}: not valid YAML ({str(error).splitlines()[0]})") from None
        return found if isinstance(found, dict) else {}

    @property
    def metrics(self) -> Metrics:
        """Of a finished run. Raises `UserError` for one that is not."""
        if not self.finished:
            raise UserError(f"{self.folder}: this run is not finished; the command that began it goes on with it")
        return _parsed(lambda t: Metrics.from_json(json.loads(t)), _text(self.metrics_file), self.metrics_file)

    @property
    def history(self) -> list[Validation]:
        """The validations so far, in their order."""
        return [_parsed(_validation, line, self.history_file) for line in _lines(self.history_file)]

    @property
    def provenance(self) -> Provenance:
        """Empty where the run has none."""
        if not self.provenance_file.is_file():
            return Provenance()
        path = self.provenance_file
        return _parsed(lambda t: Provenance.from_json(json.loads(t)), _text(path), path)

    @property
    def warnings(self) -> list[str]:
        """The lines of the log with which the training said that something looks wrong."""
        marked = (line.strip() for line in _lines(self.log_file))
        return [line.removeprefix("warning: ") for line in marked if line.startswith("warning: ")]

    # -- writing ---------------------------------------------------------------------------------------------------

    def write_config(self, text: str) -> None:
        """Write `config.yaml`, by which a folder is a run."""
        write_text(self.config_file, text)

    def write_metrics(self, metrics: Metrics) -> None:
        """Write `metrics.json`; the run is finished from then on."""
        write_json(self.metrics_file, metrics.to_json())

    def write_provenance(self, provenance: Provenance) -> None:
        """Write `provenance.json`."""
        write_json(self.provenance_file, provenance.to_json())

    def append_validation(self, validation: Validation) -> None:
        """Add a line to `history.jsonl`."""
        _append(self.history_file, json.dumps(validation.to_json()))

    def append_log(self, line: str) -> None:
        """Add a line to `train.log`."""
        _append(self.log_file, line)

    def cut_history(self, step: int) -> list[Validation]:
        """Forget validations after `step` steps of the run, and a line that was cut off; returns those that stay."""
        if not self.history_file.is_file():
            return []
        kept = []
        for line in _lines(self.history_file):
            try:
                validation = _validation(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if validation.step <= step:
                kept.append((line, validation))
        write_text(self.history_file, "".join(line + "\n" for line, _ in kept))
        return [validation for _, validation in kept]


def _validation(line: str) -> Validation:
    return Validation.from_json(json.loads(line))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines() if path.is_file() else []


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _parsed(parse: Callable[[str], T], text: str, path: Path) -> T:
    try:
        return parse(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); the file was changed since the run") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{path}: not what a training wrote ({what}); the file was changed since the run") from None


def point_folder(run: Run, interpolation: float) -> Path:
    """Where another state of a run's front is written by default: beside the run, named by the state."""
    return run.folder.with_name(f"{run.name}-at-{interpolation:g}")
