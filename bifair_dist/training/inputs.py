"""What a training reads: its dataset, its representations, the run that it starts from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bifair_dist.cost.work import Sizes
from bifair_dist.data.balanced import balanced_tables, group_labels
from bifair_dist.data.dataset import Dataset, read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.representations.manifest import read_manifest
from bifair_dist.embedding.default import ensure_representations
from bifair_dist.errors import UserError
from bifair_dist.runs import Run
from bifair_dist.settings import override
from bifair_dist.training.checks import check_data, with_group
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.propagation import hardware_of, settle_propagation
from bifair_dist.training.settings import TrainSettings


def with_data(settings: TrainSettings) -> TrainSettings:
    """The settings with dataset and representations as absolute paths to folders that exist, and that fit.

    Raises `UserError` where they do not.
    """
    data, training = settings.data, settings.training
    folder = Path(data.dataset).expanduser().absolute() if data.dataset else _generated(Path(data.cache))
    dataset = read_dataset(folder)
    settings = with_group(settings, dataset)
    check_data(settings, dataset)
    # Where Z starts at random nothing is embedded, and a folder that was given is not looked at.
    at_random = method_of(settings).vectors(settings) is None
    vectors = "" if at_random else str(ensure_representations(dataset, data).absolute())
    start = training.warm_start and _finished_run(Path(training.warm_start))
    settings = override(
        settings, {"data.dataset": str(folder), "data.representations": vectors, "training.warm_start": start}
    )
    return _with_propagation(settings, dataset)


def _with_propagation(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings with `model.propagation auto` decided, which is said."""
    if settings.model.propagation != "auto":
        return settings
    vectors, group = settings.data.representations, settings.balance.group
    sizes = Sizes(
        items=dataset.n_items,
        users=dataset.n_users,
        pairs=len(dataset.train),
        width=int(read_manifest(Path(vectors))["dim"]) if vectors else settings.model.embedding_dim,
        groups=len(group_labels(balanced_tables(group, dataset.groups))) if settings.training.balances else 0,
    )
    settings, line = settle_propagation(settings, sizes, hardware_of(settings))
    print(line, flush=True)
    return settings


def _generated(cache: Path) -> Path:
    """The built-in catalogue, made where it is not there yet."""
    folder = cache.expanduser().absolute() / "generated"
    if not folder.exists():
        print(f"no --data.dataset given: generating the built-in catalogue in {folder}", flush=True)
        with suppress(UserError):  # another process may have been faster; read_dataset decides
            folder.parent.mkdir(parents=True, exist_ok=True)
            generate_dataset(folder)
    return folder


def _finished_run(folder: Path) -> str:
    """The absolute path of a run to start from."""
    run = Run(folder.expanduser().absolute())
    for path in (run.projector, run.item_vectors / "manifest.json"):
        if not path.is_file():
            name = path.relative_to(run.folder)
            raise UserError(f"training.warm_start: {run.folder} has no {name}; give the folder of a finished run")
    return str(run.folder)
