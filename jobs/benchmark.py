"""Measure training steps and full ranking on generated catalogues of any size, on any number of workers.

    python jobs/benchmark.py                                    small sizes on 1 and 2 Ray Train workers, 2 minutes
    python jobs/benchmark.py --cluster.launcher inline          the same without Ray, as processes of this machine
    python jobs/benchmark.py --scale.sweeps strong --scale.workers 1,2,4,8 --scale.items 1e6 --scale.users 5e5 \\
        --scale.pairs 2e7 --scale.width 1024
    python jobs/benchmark.py --scale.methods alpharec,bifair --scale.sweeps catalogue      both side by side
    torchrun --nproc-per-node 2 jobs/benchmark.py               the cases of two workers
    ray job submit --working-dir . -- python jobs/benchmark.py --scale.workers 1,2,4,8 --scale.output /shared/benchmark
    python jobs/benchmark.py plan h100 --scale.items 1e7        cases, memory, estimated time; runs nothing
    python jobs/benchmark.py --scale.embedded 2000 --embed.engine sentence-transformers        the embedding job too

Strong and weak scaling over workers; growth in items, width, pairs, batch and groups; a step by pass and operation;
bytes by collective; peak memory; users ranked a second; reading, starting, embedding. All settings of jobs/train.py
count. Writes benchmark.json, benchmark.md (with commit and hardware) and benchmark.html, where each measurement stands
beside its bound. Seconds mean something on an idle machine only.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from benchmarks.settings import BenchmarkSettings
from bifair_dist.command_line import parse, subcommand
from bifair_dist.errors import run_job
from bifair_dist.settings import flatten


def main() -> None:
    """Read the settings, measure, write."""
    mode, words = subcommand(sys.argv[1:], ("run", "plan"), "jobs/benchmark.py")
    if mode == "plan":
        from benchmarks.plan import plan
        from bifair_dist.hardware import find_profile

        named = words[0] if words and not words[0].startswith("-") else ""
        settings = parse(BenchmarkSettings(), words[1:] if named else words, __doc__ or "")
        print(plan(settings, find_profile(named or "cpu-2core")))
        return
    settings = parse(BenchmarkSettings(), words, __doc__ or "")
    from benchmarks.cases import sweeps
    from benchmarks.launch import run_cases
    from benchmarks.reading import reading
    from benchmarks.record import record
    from benchmarks.report import markdown, page

    load = os.getloadavg()
    wanted = sweeps(settings)
    cases = [case for found in wanted.values() for case in found]
    results = run_cases(settings, cases, lambda line: print(line, flush=True))
    if results is None:
        return
    threads = f"threads of a worker: {settings.cluster.threads}"
    about = record(["bifair_dist", "benchmarks", "jobs/benchmark.py"], threads, load)
    measured = {name: [results[case] for case in found if case in results] for name, found in wanted.items()}
    measured = {name: found for name, found in measured.items() if found}
    folder = Path(settings.scale.output)
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"about": about, "settings": flatten(settings), "sweeps": measured}
    if settings.scale.reading:
        smallest = min((case for case in cases if case in results), key=lambda case: case.items * case.width)
        whole["reading"] = reading(smallest, folder, settings.training.seed)
    if settings.scale.embedded:
        from benchmarks.embedding import embedded

        whole["embedding"] = embedded(settings.embed, settings.scale.embedded, folder)
    (folder / "benchmark.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmark.html").write_text(page(whole), encoding="utf-8")
    text = markdown(whole)
    (folder / "benchmark.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {folder}", flush=True)


if __name__ == "__main__":
    run_job(main)
