"""The embedding job on Ray Data: units are read, embedded by replicas and staged, with Ray Data's own checkpoints."""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.embedding import vllm_engine
from bifair_dist.embedding.items import ROW, dataset_of, unit_ranges
from bifair_dist.embedding.job import Job, complete_already, embed_here, make_job, run, version
from bifair_dist.embedding.sentence_engine import SentenceEngine
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.embedding.staging import Staging, split_failures
from bifair_dist.errors import Interrupted, UserError
from bifair_dist.progress import Progress
from bifair_dist.workers.raw_lines import raw_lines_to
from bifair_dist.workers.ray_cluster import connect

SPARE_CPUS = 3
"""CPUs beside the replicas': for reading and writing, and for the actor with which Ray Data leaves out what is done.
With fewer, a job that goes on waits for ever."""


def embed_catalogue(settings: EmbedSettings) -> Path:
    """Run the job, or go on with it; the representations folder. Raises `UserError`, `Interrupted` after Ctrl-C.

    Where one process is enough (sentence-transformers, one replica, no cluster that is meant), it is done in this one.
    """
    try:
        return _embed(settings)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the same command goes on with the items that are missing") from None


def _embed(settings: EmbedSettings) -> Path:
    if settings.engine == "vllm":
        vllm_engine.installed()
    elif settings.replicas == 1 and settings.gpus is None and not os.environ.get("RAY_ADDRESS"):
        return embed_here(settings, settings.cpus)
    job = make_job(settings)
    if complete_already(job):
        return job.output
    with Staging.beside(job.output) as staging, raw_lines_to(staging.engine_log):
        staging.claim(job.identity())
        import ray

        started_here = not ray.is_initialized()
        if started_here:
            wanted = settings.replicas * settings.cpus + SPARE_CPUS
            connect("", max(os.cpu_count() or 1, wanted), {}, without="take --engine sentence-transformers")
        try:
            gpus = _gpus(settings, ray.cluster_resources())
            about = _about(settings, gpus)
            print(
                f"engine: {about['engine']} {about['version']}, {settings.replicas} replicas with "
                f"{settings.cpus} CPUs and {gpus:g} GPUs each; model: {job.model.name} ({job.model.source})",
                flush=True,
            )
            return run(job, staging, partial(_one_pass, gpus=gpus), about)
        finally:
            if started_here:
                ray.shutdown()


def _one_pass(job: Job, staging: Staging, gpus: float) -> None:
    """Stage what is missing."""
    import ray.data
    from ray.data.checkpoint import CheckpointConfig

    settings = job.settings
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column=ROW, checkpoint_path=str(staging.checkpoint), delete_checkpoint_on_success=False
    )
    done = set(staging.committed().tolist())
    wanted = [r for r in unit_ranges(job.rows, job.unit) if not all(row in done for row in range(*r))]
    environment = vllm_engine.environment(settings, gpus)
    if job.model.is_local:
        environment["HF_HUB_OFFLINE"] = "1"
    dataset = dataset_of(job.items, job.columns, job.unit, wanted)
    dataset = dataset.map_batches(job.tokens, batch_format="pyarrow", batch_size=None)
    if settings.engine == "vllm":
        dataset = vllm_engine.add_stage(settings, job.model, gpus, {"env_vars": environment})(dataset)
    else:
        dataset = dataset.map_batches(
            SentenceEngine,
            fn_constructor_args=(job.model, settings.compute_dtype, settings.cpus, settings.trust_remote_code),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=settings.replicas),
            num_cpus=settings.cpus,
            num_gpus=gpus or None,
        )
    dataset = dataset.map_batches(partial(_split, str(staging.failed)), batch_format="pyarrow", batch_size=None)
    for name in ("ray.data", "ray._private.worker", "ray"):  # after ray set its own levels
        logging.getLogger(name).setLevel(logging.ERROR)
    with _Watch(job, staging, len(done)):
        try:
            dataset.write_parquet(str(staging.staged), mode=ray.data.SaveMode.APPEND)
        except Exception as error:
            raise _in_one_line(job, error, staging.engine_log) from error


def _split(folder: str, table: pa.Table) -> pa.Table:
    return split_failures(folder, table)


class _Watch:
    """Shows how many items are staged, from the footers of Ray Data's checkpoint files."""

    def __init__(self, job: Job, staging: Staging, done: int) -> None:
        self.folder, self.seen = staging.checkpoint, {p.name for p in staging.checkpoint.glob("*.parquet")}
        self.progress = Progress(f"embedding items with {job.model.name}", job.rows, "items", done=done)
        self.staged, self.tokens, self.working = staging.staged, 0, False
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _look(self) -> None:
        new = [p for p in self.folder.glob("*.parquet") if p.name not in self.seen and ".pending" not in p.name]
        self.seen |= {path.name for path in new}
        rows = sum(pq.read_metadata(path).num_rows for path in new)
        if not new:
            return
        if not self.working:  # the model has started: what it gave first tells nothing of its rate
            self.working = True
            self.progress.begin(rows)
            return
        self.tokens += sum(self._tokens(path.stem) for path in new)
        self.progress.update(rows, f"{self.tokens / self.progress.seconds:,.0f} tokens/s")

    def _tokens(self, name: str) -> int:
        """Tokens of the data files that a checkpoint file stands for."""
        files = self.staged.glob(f"{name}*.parquet")
        return sum(int(pq.read_table(f, columns=["tokens"])["tokens"].to_numpy().sum()) for f in files)

    def _run(self) -> None:
        while not self.stop.wait(2.0):
            self._look()

    def __enter__(self) -> None:
        print("starting the model (about a minute)", flush=True)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self._look()
        self.progress.show(line=True)


def _gpus(settings: EmbedSettings, resources: dict[str, float]) -> float:
    there = resources.get("GPU", 0.0)
    gpus = settings.gpus if settings.gpus is not None else float(there > 0)
    needed = gpus * settings.replicas * settings.tensor_parallel
    if needed > there:
        raise UserError(
            f"gpus: {settings.replicas} replicas with {gpus * settings.tensor_parallel:g} GPUs each need {needed:g}, "
            f"the cluster has {there:g}; lower --replicas or --gpus"
        )
    cpus = settings.cpus * settings.replicas
    if cpus + SPARE_CPUS > resources.get("CPU", 0):
        raise UserError(
            f"cpus: {settings.replicas} replicas with {settings.cpus} CPUs each and {SPARE_CPUS} for reading and "
            f"writing need more than the cluster's {resources.get('CPU', 0):g}; lower --replicas or --cpus"
        )
    if settings.engine == "vllm":
        vllm_engine.check_device(gpus)
    return gpus


def _about(settings: EmbedSettings, gpus: float) -> dict[str, Any]:
    if settings.engine == "vllm":
        package, number = vllm_engine.installed()
    else:
        package, number = settings.engine, version(settings.engine)
    return {"engine": package, "version": number, "ray": version("ray"), "device": "cuda" if gpus else "cpu"}


def _in_one_line(job: Job, error: Exception, log: Path) -> BaseException:
    """A person's line for what a replica died of, where its cause is known; else the failure as it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause  # disk full and the like: `run` tells it
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if "Error" in line]
    reason = lines[-1][:300] if lines else type(error).__name__
    return UserError(
        f"{job.model.source}: the {job.settings.engine} replicas stopped: {reason}; what is done is kept, and the "
        f"engine's own lines are in {log}"
    )
