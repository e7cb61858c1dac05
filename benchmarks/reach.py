"""How far two cores and 24 GiB reach: large steps, growth over four sizes of N and of E, and workers against threads.

    python benchmarks/reach.py --folder /tmp/reach [--prefix "nice -n 0"] [--only n1 n2]     (25 minutes, 16 GB)
    python benchmarks/reach.py --folder /tmp/small --divide 100         all sizes 100 times smaller: does it run at all?

Every case is a run of `jobs/benchmark.py` with processes of its own, W = 2 with one thread each unless said otherwise,
d = 256, U = 62,500, all other settings at their defaults; its JSON is kept in `--folder`, and a case that is there
already is not run again. Cases n and e are steps without new weights alone (`--balance.fairness_strength 0`). An epoch
is extrapolated: its steps times the mean of a cycle of `balance.refresh` steps. Writes results/reach.md; with
`--divide`, where seconds say nothing of the large sizes, FOLDER/reach.md. Exit code 1 where a case failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import ROOT, record

from bifair_dist.benchmark.growth import exponent
from bifair_dist.progress import duration

BASE = (125_000, 62_500, 2_500_000)
FULL = (1_000_000, 500_000, 20_000_000)
PLAIN = ("--balance.fairness_strength", "0", "--scale.steps", "1")
CASES: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {
    "n1": (BASE, PLAIN),
    **{f"n{f}": ((f * BASE[0], BASE[1], BASE[2]), PLAIN) for f in (2, 4, 8)},
    **{f"e{f}": ((BASE[0], BASE[1], f * BASE[2]), PLAIN) for f in (2, 4, 8)},
    "full": (FULL, PLAIN),
    "full with new weights": (FULL, ("--scale.steps", "1", "--balance.refresh", "1")),
    "W = 2, a thread each": (BASE, ("--scale.steps", "2")),
    "W = 1, two threads": (BASE, ("--scale.steps", "2", "--cluster.threads", "2")),
}
"""(N, U, E) and further words by name."""
LINEAR, SLOWER = 1.1, 1.2


def run(name: str, folder: Path, prefix: list[str], divide: int) -> bool:
    """Measure one case, where it is not there yet; whether it is there now. ValueError where it is of another size."""
    sizes, words = CASES[name]
    items, users, pairs = (size // divide for size in sizes)
    if (folder / name / "benchmark.json").exists():
        case = read(folder, name)["sweeps"]["strong"][0]["case"]
        if (case["items"], case["users"], case["pairs"]) != (items, users, pairs):
            raise ValueError(f"{folder / name} holds N = {case['items']:,}, not {items:,}; take another --folder")
        return True
    one = name.startswith("W = 1")
    command = [*prefix, sys.executable, "jobs/benchmark.py", "--cluster.launcher", "inline", "--scale.sweeps", "strong"]
    command += ["--scale.reading", "false"]
    command += ["--scale.items", str(items), "--scale.users", str(users), "--scale.pairs", str(pairs)]
    command += ["--scale.workers", "1" if one else "2", "--scale.output", str(folder / name), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "2" if one else "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
    print(name, "ended with", done.returncode, file=sys.stderr, flush=True)
    return done.returncode == 0


def read(folder: Path, name: str) -> Any:
    """What a case's run wrote."""
    return json.loads((folder / name / "benchmark.json").read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the cases' JSON is kept")
    parser.add_argument("--prefix", default="", help="words before every command")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=CASES, metavar="CASE")
    parser.add_argument("--divide", type=int, default=1, help="N, U and E by this; at most 150, or pairs run short")
    parser.add_argument("--result", type=Path, help="results/reach.md, or FOLDER/reach.md with --divide, unless told")
    args = parser.parse_args()
    folder, load = args.folder.resolve(), os.getloadavg()
    result = args.result or (ROOT / "benchmarks" / "results" if args.divide == 1 else folder) / "reach.md"
    try:
        good = all([run(name, folder, shlex.split(args.prefix), args.divide) for name in args.only])
    except ValueError as error:
        parser.error(str(error))
    there = [name for name in CASES if (folder / name / "benchmark.json").exists()]
    if not there:
        return 1
    whole = {name: read(folder, name) for name in there}
    found = {name: one["sweeps"]["strong"][0] for name, one in whole.items()}
    commits = dict.fromkeys(one["about"][0].removeprefix("- ").split(",")[0] for one in whole.values())
    swap = Path("/proc/swaps").read_text(encoding="utf-8").strip().splitlines()[1:]
    lines = [
        "# Reach: large catalogues on two cores",
        "",
        *record(["benchmarks/reach.py"], "2 workers with 1 thread each, or 1 with 2", load),
        f"- the cases ran at: {'; '.join(commits)}",
        f"- swap: {'none on this machine' if not swap else '; '.join(swap)}",
        "",
        *(verdicts(found) if args.divide == 1 else [f"- sizes divided by {args.divide}: says nothing of the goals"]),
        "",
        "| case | W | N | U | E | step, s | bound, s | with new weights, s | peak of a worker, MiB | plan | sent, MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(row(name, result) for name, result in found.items()),
    ]
    text = "\n".join(lines)
    print(text)
    result.write_text(text + "\n", encoding="utf-8")
    return int(not good)


def verdicts(found: dict[str, Any]) -> list[str]:
    """What the project asked for, and what was found of it."""
    lines = []
    for letter, key, size in (("n", "items", "N"), ("e", "pairs", "E")):
        names = [name for name in ("n1", *(f"{letter}{f}" for f in (2, 4, 8))) if name in found]
        sizes = [found[name]["case"][key] for name in names]
        seconds = [found[name]["plain_seconds"] for name in names]
        p, memory = exponent(sizes, seconds), exponent(sizes, [found[name]["peak_bytes"] for name in names])
        if p is not None and memory is not None:
            met = "met" if p <= LINEAR and len(names) == 4 else "**missed**"
            lines.append(
                f"- step time grows with {size}^{p:.2f} over {len(names)} sizes (memory {memory:.2f}); "
                f"at most {LINEAR}: {met}"
            )
    if "full" in found:
        full = found["full"]
        case = full["case"]
        steps = -(-case["pairs"] // case["batch"])
        plain = full["plain_seconds"]
        peak = f"peak {full['peak_bytes'] / 2**30:.1f} GiB a worker"
        told = f"- N = {case['items']:,}, d = {case['width']}, E = {case['pairs']:,}: {plain:.1f} s a step, {peak}"
        mean = plain
        if "full with new weights" in found:
            weights = found["full with new weights"]["new_weights_seconds"]
            mean = 0.9 * plain + 0.1 * weights
            told += f"; with new weights {weights:.1f} s"
        told += f"; an epoch of {steps:,} steps (extrapolated from {mean:.1f} s): {duration(mean * steps)}"
        lines.append(told)
    if "W = 2, a thread each" in found and "W = 1, two threads" in found:
        two, one = found["W = 2, a thread each"], found["W = 1, two threads"]
        ratios = {k: two[f"{k}_seconds"] / one[f"{k}_seconds"] for k in ("plain", "new_weights")}
        met = "met" if ratios["plain"] <= SLOWER else "**missed**"
        lines.append(
            f"- W = 2 with a thread each over W = 1 with two: {ratios['plain']:.2f} (with new weights "
            f"{ratios['new_weights']:.2f}); at most {SLOWER}: {met}"
        )
    return lines


def row(name: str, result: Any) -> str:
    """A line of the table."""
    case = result["case"]
    plain, weights = result.get("plain_seconds"), result.get("new_weights_seconds")
    bound = result.get("plain_bound", result.get("new_weights_bound"))
    sent = result.get("plain_sent", result.get("new_weights_sent"))
    cells = [name, case["workers"], *(f"{case[key]:,}" for key in ("items", "users", "pairs"))]
    cells += [
        "" if plain is None else f"{plain:.2f}",
        f"{sum(bound.values()):.2f}",
        "" if weights is None else f"{weights:.2f}",
    ]
    cells += [
        f"{result['peak_bytes'] / 2**20:,.0f}",
        f"{result['memory_plan'] / 2**20:,.0f}",
        f"{sum(sent.values()) / 1e6:,.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
