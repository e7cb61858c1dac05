"""The embedding job: a dataset's items through a language model into a representations folder, restartable.

    items.parquet -> units -> text and token ids -> engine replicas -> staged units -> shards in item order

On Ray Data (`embed_catalogue`) with vLLM or sentence-transformers, or in this process with the latter (`embed_here`),
for small catalogues and where there is no Ray. Both stage the same units and give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bifair_dist.data.representations import read_manifest
from bifair_dist.embedding.assemble import assemble
from bifair_dist.embedding.items import count_rows, read_unit, unit_ranges
from bifair_dist.embedding.models import Model, resolve
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.embedding.staging import Staging, split_failures
from bifair_dist.embedding.texts import Template, check_template
from bifair_dist.embedding.tokens import Tokens
from bifair_dist.errors import UserError
from bifair_dist.files import sha256
from bifair_dist.progress import Progress, duration
from bifair_dist.settings import flatten
from bifair_dist.tracking import open_tracker

FILES = 2000  # staged files at most: a folder of more is slow to list
_HOW = ("replicas", "cpus", "gpus", "retries", "accept_failures", "output", "shard_rows", "dtype")
"""Settings that may differ between a job and the one it goes on from: they do not change a staged vector."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, checked. `unit` is the rows of a unit."""

    settings: EmbedSettings
    model: Model
    items: Path
    rows: int
    unit: int
    output: Path

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of items.parquet that the text needs."""
        return Template.parse(self.settings.template).columns

    @property
    def tokens(self) -> Tokens:
        """The step from item rows to token ids."""
        s, m = self.settings, self.model
        return Tokens(str(m.folder or m.source), s.template, m.prompt, m.max_tokens, s.trust_remote_code)

    def identity(self) -> dict[str, Any]:
        """What decides the vectors: a job goes on only where this is the same."""
        kept = {k: v for k, v in flatten(self.settings).items() if k not in _HOW and not k.startswith("tracking.")}
        kept |= {"dataset": sha256(self.items), "model": self.model.name, "revision": self.model.revision}
        kept["prompt"] = self.model.prompt  # `none` and a prompt that the model has not got are the same vectors
        return {**kept, "unit": self.unit, "pooling": self.model.pooling, "max_tokens": self.model.max_tokens}


def make_job(settings: EmbedSettings) -> Job:
    """Check everything that can be checked before a model is loaded. Raises `UserError`."""
    for name in ("dataset", "output"):
        if not getattr(settings, name):
            raise UserError(f"--{name} FOLDER is missing")
    dataset, output = Path(settings.dataset).expanduser(), Path(settings.output).expanduser().absolute()
    items = dataset.absolute() / "items.parquet"
    if not items.is_file():
        raise UserError(f"{dataset}: no dataset here (items.parquet not found); make one with jobs/prepare.py")
    check_template(items, settings.template)
    model = resolve(settings)
    if model.folder is None:
        model = _fetched(settings, model)
    rows = count_rows(items)
    # A unit is embedded again as a whole after a kill: small ones lose little, but each is a file.
    unit = settings.batch * max(1, -(-rows // (FILES * settings.batch)))
    job = Job(settings, model, items, rows, unit, output)
    _check_texts(job)
    return job


def run(job: Job, staging: Staging, one_pass: Callable[[Job, Staging], None], engine: Mapping[str, Any]) -> Path:
    """Passes over what is not staged until nothing is left or tries are used up, then the shards.

    `one_pass` stages the units that are missing. Raises `UserError` where more items failed than are accepted.
    """
    with open_tracker(job.settings.tracking, staging.folder, name=job.output.name) as tracker:
        tracker.params({**flatten(job.settings), **engine, "rows": job.rows, "revision": job.model.revision})
        folder = _run(job, staging, one_pass, engine)
        manifest = read_manifest(folder)
        counts = {key: manifest[key] for key in ("rows", "tokens", "truncated", "failed")}
        tracker.metrics(counts | {k: v for k, v in manifest["throughput"].items() if v is not None}, step=0)
        tracker.artifact(folder / "manifest.json")
    staging.remove()
    return folder


def _run(job: Job, staging: Staging, one_pass: Callable[[Job, Staging], None], engine: Mapping[str, Any]) -> Path:
    since = time.time()
    done = len(staging.committed())
    if done:
        print(f"going on in {staging.folder}: {done:,} of {job.rows:,} items are done", flush=True)
    first = done
    for attempt in range(job.settings.retries + 1):
        if done == job.rows:
            break
        if attempt:
            print(
                f"{job.rows - done:,} items failed; trying them again ({attempt} of {job.settings.retries})", flush=True
            )
        try:
            staging.forget_failures()
            one_pass(job, staging)
        except OSError as error:
            if error.errno is None:
                raise
            raise UserError(
                f"{staging.folder}: cannot be written ({error.strerror}); what is done is kept: make room and run the "
                "same command again"
            ) from None
        done = len(staging.committed())
    failures = staging.failures()
    if done + len(failures) != job.rows:
        raise RuntimeError(f"{job.rows:,} items, but {done:,} are staged and {len(failures):,} failed")
    if len(failures):
        _tell_failures(job, staging, failures)
    return _complete(job, staging, failures, dict(engine), done - first, since)


def embed_here(settings: EmbedSettings, threads: int = 0) -> Path:
    """The job in this process, with sentence-transformers and without Ray."""
    job = make_job(settings)
    if complete_already(job):
        return job.output
    from bifair_dist.embedding.sentence_engine import SentenceEngine

    with Staging.beside(job.output) as staging:
        staging.claim(job.identity())
        staging.drop_uncommitted()
        engine = SentenceEngine(job.model, settings.compute_dtype, threads, settings.trust_remote_code)

        def one_pass(job: Job, staging: Staging) -> None:
            done = set(staging.committed().tolist())
            what = f"embedding items with {job.model.name}"
            with Progress(what, job.rows, "items", done=len(done)) as progress:
                for begin, end in unit_ranges(job.rows, job.unit):
                    table = read_unit(job.items, job.columns, begin, end)
                    if done:
                        table = table.filter(pa.array([row not in done for row in range(begin, end)]))
                    if table.num_rows:
                        good = split_failures(str(staging.failed), engine(job.tokens(table)))
                        if good.num_rows:
                            staging.write_unit(f"{begin:012d}-{good.num_rows}-{good['row'][0].as_py()}", good)
                        progress.update(table.num_rows)

        return run(
            job, staging, one_pass, {"engine": "sentence-transformers", "version": version("sentence-transformers")}
        )


def complete_already(job: Job) -> bool:
    """Whether the output folder is there and holds this very job. Raises `UserError` where it holds something else."""
    if not job.output.exists():
        return False
    path = job.output / "manifest.json"
    made = json.loads(path.read_text(encoding="utf-8")).get("job") if path.is_file() else None
    if made != job.identity():
        raise UserError(f"{job.output}: already exists, made in another way; remove it or choose another --output")
    print(f"{job.output} is complete already", flush=True)
    return True


def version(package: str) -> str:
    """Installed version of a package, empty where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _fetched(settings: EmbedSettings, model: Model) -> Model:
    """A hub model's small files brought here, so that its length, width and tokenizer are known."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            model.source, revision=settings.revision or None, allow_patterns=["*.json", "*.txt", "*.model", "*/*.json"]
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"model: {model.source} is not on this machine and cannot be fetched ({reason}); give a local folder"
        ) from None
    return resolve(settings)


def _check_texts(job: Job) -> None:
    """Fill every text once: an item without one is found now and not after hours."""
    with Progress("checking texts", job.rows, "items") as progress:
        for begin, end in unit_ranges(job.rows, 1 << 16):
            Template.parse(job.settings.template).fill(read_unit(job.items, job.columns, begin, end))
            progress.update(end - begin)


def _tell_failures(job: Job, staging: Staging, failures: pa.Table) -> None:
    path = staging.folder / "failed.parquet"
    pq.write_table(failures.select(["item_id", "reason"]), path)
    example = f"{failures['item_id'][0].as_py()!r} ({failures['reason'][0].as_py()})"
    if len(failures) > job.settings.accept_failures:
        raise UserError(
            f"{len(failures):,} of {job.rows:,} items failed, such as {example}; all are in {path}; the others "
            f"are kept: run again to try these again, or with --accept_failures {len(failures)} to give them zeros"
        )
    print(f"{len(failures):,} items failed and get zeros, such as {example}; all are in failed.parquet", flush=True)


def _complete(
    job: Job, staging: Staging, failures: pa.Table, engine: dict[str, Any], embedded: int, since: float
) -> Path:
    """`since`: when this process began, in seconds since 1970. Its rate does not count the start of the model."""
    seconds = time.time() - since
    items, at_work = staging.rate(since)
    tokens = truncated = 0
    width = job.model.width
    for path in sorted(staging.staged.glob("*.parquet")):
        table = pq.read_table(path, columns=["tokens", "truncated"])
        tokens += int(table["tokens"].to_numpy().sum())
        truncated += int(table["truncated"].to_numpy(zero_copy_only=False).sum())
    m, s = job.model, job.settings
    about = {
        "model": m.name,
        "source": m.source if not m.is_local else Path(m.source).name,
        "revision": m.revision,
        "template": s.template,
        "prompt": m.prompt,
        "pooling": m.pooling,
        "normalised": "l2" if m.normalise else "",
        "max_tokens": m.max_tokens,
        "model_width": m.full_width,
        "tokens": tokens,
        "truncated": truncated,
        "failed": len(failures),
        "dataset": str(job.items.parent),
        **engine,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "job": job.identity(),
        "settings": flatten(s),
        "throughput": {
            "items": embedded,
            "seconds": round(seconds, 1),
            "seconds_at_work": round(at_work, 1),
            "items_per_second": round(items / at_work, 1) if at_work else None,
            "tokens_per_second": round(items / at_work * tokens / job.rows, 1) if at_work else None,
        },
    }
    final = staging.folder / "final"
    shutil.rmtree(final, ignore_errors=True)
    try:
        assemble(staging.staged, job.items, final, width, s.dtype, s.shard_rows, about)
        if len(failures):
            shutil.copy(staging.folder / "failed.parquet", final / "failed.parquet")
        if staging.engine_log.is_file() and staging.engine_log.stat().st_size:
            shutil.copy(staging.engine_log, final)
        os.rename(final, job.output)
    except OSError as error:
        if job.output.exists():
            raise UserError(f"{job.output}: already exists; another process wrote it meanwhile") from None
        raise UserError(
            f"{final}: cannot be written ({error.strerror or error}); make room and run the same command again"
        ) from None
    cut = f", {truncated:,} of them cut off at {m.max_tokens:,} tokens" if truncated else ""
    print(f"{job.rows:,} items ({tokens:,} tokens{cut}) in {duration(seconds)}; written to {job.output}", flush=True)
    return job.output
