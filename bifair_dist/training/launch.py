"""From settings to a finished run: fill in the data, make the run folder, start the workers where they belong."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.embedding.default import ensure_representations
from bifair_dist.errors import UserError
from bifair_dist.progress import duration
from bifair_dist.runs import Run
from bifair_dist.runs.text import before_after
from bifair_dist.settings import override
from bifair_dist.tracking import close_tracker
from bifair_dist.training.lease import Lease
from bifair_dist.training.problem import check_fits
from bifair_dist.training.propagation import settle_propagation
from bifair_dist.training.provenance import write_provenance
from bifair_dist.training.run_folder import open_run_folder, remove_if_untouched
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.worker import Place, train_worker


def train(settings: TrainSettings, callbacks: Sequence[Any] = (), *, table: bool = True) -> Path:
    """Run a whole training, or the rest of one that was cut off, and print its table; returns the run folder.

    `callbacks` are Ray Train's, for a training on Ray; without `table` it ends in silence. Raises `UserError` for bad
    input.
    """
    launcher = settings.cluster.launcher
    if launcher == "auto":
        launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in os.environ else "ray"
    if launcher == "torchrun":
        return _under_torchrun(settings)
    start = time.monotonic()
    settings = with_data(settings)
    folder, new = open_run_folder(settings)
    if _already_finished(folder, settings, table):
        return folder
    try:
        with Lease(folder) as lease:
            write_provenance(folder, settings)
            if launcher == "ray":
                from bifair_dist.training.ray_launch import train_on_ray

                train_on_ray(settings, folder, lease.owner, callbacks)
            else:
                train_worker(settings, folder, Place(None, None, _device(0)), lease.owner)
    except BaseException as error:
        close_tracker(settings.tracking, folder, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        if new:
            remove_if_untouched(folder)
        raise
    if table:
        _conclude(settings, folder, time.monotonic() - start)
    return folder


def _already_finished(folder: Path, settings: TrainSettings, table: bool = True) -> bool:
    """Say where the run is; of a finished one also its table, and that there is nothing left to do."""
    print(f"run folder: {folder}", flush=True)
    if not Run(folder).finished:
        return False
    print("this run is finished already", flush=True)
    if table:
        _print_table(settings, folder)
    return True


def with_data(settings: TrainSettings) -> TrainSettings:
    """The settings with dataset and representations as absolute paths to folders that exist."""
    data = settings.data
    if data.dataset:
        folder = Path(data.dataset).expanduser().absolute()
    else:
        folder = Path(data.cache).expanduser().absolute() / "generated"
        if not folder.exists():
            print(f"no --data.dataset given: generating the built-in catalogue in {folder}", flush=True)
            with suppress(UserError):  # another process may have been faster; read_dataset decides
                folder.parent.mkdir(parents=True, exist_ok=True)
                generate_dataset(folder)
    dataset = read_dataset(folder)
    check_fits(settings, dataset, _workers(settings))
    settings, line = settle_propagation(settings, dataset.n_items, dataset.n_users)
    if line:
        print(line, flush=True)
    # Id embeddings start at random: nothing is embedded for them, and a folder that was given is not looked at.
    vectors = "" if settings.training.id_embeddings else str(ensure_representations(dataset, data).absolute())
    start = settings.training.warm_start
    if start:
        start = str(Path(start).expanduser().absolute())
        for name in ("projector.safetensors", "item_representations/manifest.json"):
            if not (Path(start) / name).is_file():
                raise UserError(f"training.warm_start: {start} has no {name}; give the folder of a finished run")
    return override(
        settings, {"data.dataset": str(folder), "data.representations": vectors, "training.warm_start": start}
    )


def _workers(settings: TrainSettings) -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return 1 if settings.cluster.launcher == "inline" else settings.cluster.workers


def _under_torchrun(settings: TrainSettings) -> Path:
    """This process is one of several that torchrun started; the first prepares data and folder, then all train."""
    start = time.monotonic()
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", 0))
    device = _device(local)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    lease: Lease | None = None
    with ExitStack() as held:
        held.callback(dist.destroy_process_group)
        message: list[Any] = [None]
        if rank == 0:
            try:
                settings = with_data(settings)
                folder, _ = open_run_folder(settings)
                if not _already_finished(folder, settings):
                    lease = held.enter_context(Lease(folder))
                    write_provenance(folder, settings)
                message = [(settings, folder, lease.owner if lease else None)]
            except UserError as error:
                message = [error]
        dist.broadcast_object_list(message)
        if isinstance(message[0], UserError):
            raise message[0]
        settings, folder, owner = message[0]
        if owner is None:
            return folder
        train_worker(settings, folder, Place(dist.group.WORLD, dist.new_group(), device), owner)
    if rank == 0:
        _conclude(settings, folder, time.monotonic() - start)
    return folder


def _device(local: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _conclude(settings: TrainSettings, folder: Path, seconds: float) -> None:
    """The table of accuracy and fairness on the test pairs, before and after the fair phases."""
    _print_table(settings, folder)
    from bifair_dist.report.report import report_of_training  # a training that shows no table needs none of it

    report_of_training(settings, folder)
    from bifair_dist.serving.mlflow_model import keep_model

    keep_model(settings, folder)
    print(f"\nfinished in {duration(seconds)}; everything is in {folder}", flush=True)


def _print_table(settings: TrainSettings, folder: Path) -> None:
    print(f"\n{before_after(Run(folder).metrics, settings.balance.group)}", flush=True)
