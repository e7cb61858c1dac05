"""The embedding job on generated titles: start, items and tokens a second, against its matrix products.

Start is what passes before the first unit is staged, less that unit at the rate of the others. Bound: 2 (P - E) T
operations (`embedding/plan.py`) at the matrix rate of one thread of this process, times replicas and their CPUs.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bifair_dist.benchmark.rates import measured_rates
from bifair_dist.config.embed import EmbedSettings
from bifair_dist.parallel.comm import Comm

WORDS = ("the", "of", "river", "night", "garden", "engine", "winter", "song", "machine", "letter", "ocean", "stone")
LENGTH = 6
"""Words of a title."""


def embedded(settings: EmbedSettings, items: int, folder: Path) -> dict[str, Any]:
    """Figures of one run of the job over `items` titles, written below `folder` and removed after."""
    from bifair_dist.embedding.models import resolve
    from bifair_dist.embedding.on_ray import embed_catalogue
    from bifair_dist.embedding.token_sample import sample_tokens

    torch.set_num_threads(1)
    rates = measured_rates(Comm(), torch.device("cpu"), lambda: None)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        data, output = Path(name) / "dataset", Path(name) / "vectors"
        data.mkdir()
        drawn = np.random.default_rng(0).choice(WORDS, (items, LENGTH))
        titles = [f"{' '.join(row)} {number}" for number, row in enumerate(drawn)]
        pq.write_table(
            pa.table({"item_id": [f"{n:09d}" for n in range(items)], "title": titles}), data / "items.parquet"
        )
        tracking = replace(settings.tracking, enabled=False)
        settings = replace(settings, dataset=str(data), output=str(output), tracking=tracking)
        model = resolve(settings, hash_files=False)
        tokenizer = model.folder / "tokenizer.json" if model.folder else None
        sample = sample_tokens(data / "items.parquet", settings.template, model.prompt, model.max_tokens, tokenizer)
        with _Watch(output.with_name(output.name + ".partial") / "checkpoint") as watch:
            start = time.monotonic()
            embed_catalogue(settings)
            whole = time.monotonic() - start
    found: dict[str, Any] = {
        "items": items, "seconds": whole, "model": model.name, "engine": settings.engine, "replicas": settings.replicas,
        "tokens_per_item": sample.tokens_per_item,
    }  # fmt: skip
    if len(watch.seen) > 1:
        (first, early), (last, late) = watch.seen[0], watch.seen[-1]
        found["items_per_second"] = (late - early) / (last - first)
        found["start_seconds"] = max(first - start - early / found["items_per_second"], 0.0)
    multiplied = model.parameters - model.lookup_parameters
    cores = settings.replicas * settings.cpus
    if multiplied and not torch.cuda.is_available():
        found["bound_items_per_second"] = cores * rates.flops / (2 * multiplied * sample.tokens_per_item)
    return found


class _Watch:
    """(time, items staged) at every new unit of the job."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, list[tuple[float, int]]()
        self.stop, self.thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        known: dict[str, int] = {}
        while not self.stop.wait(0.05):
            for path in self.folder.glob("*.parquet") if self.folder.is_dir() else ():
                if path.name not in known and ".pending" not in path.name:
                    try:
                        known[path.name] = pq.read_metadata(path).num_rows
                    except (OSError, pa.ArrowException):  # still being written, or put away
                        continue
            if sum(known.values()) > (self.seen[-1][1] if self.seen else 0):
                self.seen.append((time.monotonic(), sum(known.values())))

    def __enter__(self) -> _Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
