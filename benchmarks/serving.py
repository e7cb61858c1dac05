"""The service (`jobs/serve.py`) under load from this machine: answers a second and how long each takes.

    python -m benchmarks.serving [--out FILE] [--items 100000] [--users 20000] [--replicas 1] [--seconds 15]

A model with random vectors of length 1 is written to a temporary folder and served on a free port of the loopback
address. Then, for each number of clients, that many threads ask one after the other over connections that stay open
(a closed loop: a client asks again when it has its answer). Answers of the first second are not counted. Times are
those of the client, around the request and the reading of its answer. Processor time is that of all the service's
processes, without the clients': it says what an answer costs also where other jobs take the cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.record import record, table, write
from bifair_dist.errors import UserError, run_job
from bifair_dist.model.unseen import Unseen
from bifair_dist.serving.model_folder import write_model
from bifair_dist.serving.recommender import Recommender
from bifair_dist.serving.service import serving
from bifair_dist.serving.service_settings import ServeSettings, ServiceSettings

WIDTH, HAS, K = 64, 20, 20
"""Width of the vectors, items that each user has, length of the lists."""
CLIENTS = (1, 8, 32)
Request = tuple[str, str, bytes]
"""Method, path and body."""


def catalogue(folder: Path, items: int, users: int) -> Path:
    """A model folder with random vectors: what is served costs the same as a trained one of this size."""
    draw = np.random.default_rng(0)
    rows = {
        n: F.normalize(torch.from_numpy(draw.standard_normal((n, WIDTH), np.float32)), dim=1) for n in (items, users)
    }
    has = np.repeat(np.arange(users), HAS), draw.integers(items, size=users * HAS)
    none = np.empty(0, np.int64), np.empty(0, np.int64)
    unseen = Unseen({}, rows[items], torch.zeros(items, WIDTH), 2, True)
    ids = (np.array([f"{kind}{n}" for n in range(count)], object) for kind, count in (("i", items), ("u", users)))
    item_ids, user_ids = ids
    titles = np.array([f"Title of item {n}" for n in range(items)], object)
    pairs = {"train": has, "valid": none, "test": none}
    model = Recommender(item_ids, titles, user_ids, rows[items], rows[users], pairs, lambda: unseen)
    folder.mkdir(parents=True)
    write_model(model, folder, {"run": "benchmark"})
    return folder


def known_user(items: int, users: int, draw: np.random.Generator) -> Request:
    """The list of a user whom the model knows."""
    return "GET", f"/recommend?user=u{draw.integers(users)}&k={K}", b""


def by_history(items: int, users: int, draw: np.random.Generator) -> Request:
    """A list for somebody by twenty items."""
    body = {"history": [f"i{i}" for i in draw.integers(items, size=HAS)], "k": K}
    return "POST", "/recommend", json.dumps(body).encode()


def similar(items: int, users: int, draw: np.random.Generator) -> Request:
    """Items near an item."""
    return "GET", f"/similar?item=i{draw.integers(items)}&k={K}", b""


KINDS: dict[str, Callable[[int, int, np.random.Generator], Request]] = {
    "GET /recommend": known_user,
    f"POST /recommend, {HAS} items": by_history,
    "GET /similar": similar,
}


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw: seconds of each counted answer, seconds counted in, and answers that were not 200.

    `processor`: seconds of it that the service's processes took in all the time, for `answered` answers.
    """

    times: np.ndarray
    seconds: float
    refused: int
    processor: float
    answered: int

    @property
    def cells(self) -> list[str]:
        """Requests a second, p50 and p99 in ms, processor time of an answer in ms, refused."""
        p50, p99 = 1e3 * np.quantile(self.times, [0.5, 0.99]) if len(self.times) else (np.nan, np.nan)
        return [
            f"{len(self.times) / self.seconds:,.0f}",
            f"{p50:.1f}",
            f"{p99:.1f}",
            f"{1e3 * self.processor / max(self.answered, 1):.1f}",
            str(self.refused),
        ]


def load(port: int, clients: int, seconds: float, make: Callable[[np.random.Generator], Request]) -> Load:
    """Ask for `seconds`, after a second that is not counted."""
    begin = time.monotonic() + 1.0
    end = begin + seconds
    found: list[list[float]] = [[] for _ in range(clients)]
    refused, answered = [0] * clients, [0] * clients
    before = processor_time()

    def client(number: int) -> None:
        draw = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (start := time.monotonic()) < end:
            method, path, body = make(draw)
            connection.request(method, path, body or None, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            answered[number] += 1
            if begin <= start and time.monotonic() <= end:
                found[number].append(time.monotonic() - start)
                refused[number] += answer.status != 200
        connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = np.array([t for some in found for t in some])
    return Load(times, seconds, sum(refused), processor_time() - before, sum(answered))


def processor_time() -> float:
    """Seconds of processor time that all processes below this one have taken so far."""
    parent, taken = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            parent[int(place.name)], taken[int(place.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    below, found = {os.getpid()}, {os.getpid()}
    while below:
        below = {pid for pid, above in parent.items() if above in below} - found
        found |= below
    return sum(taken.get(pid, 0) for pid in found - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def measure(args: argparse.Namespace) -> list[list[str]]:
    """A row for each kind of request and number of clients."""
    with tempfile.TemporaryDirectory() as place:
        folder = catalogue(Path(place) / "model", args.items, args.users)
        limits = ServiceSettings(port=free_port(), replicas=args.replicas)
        rows = []
        with serving(ServeSettings(run=str(folder), serve=limits)):
            for kind, make in KINDS.items():
                for clients in CLIENTS:
                    seen = load(limits.port, clients, args.seconds, partial(make, args.items, args.users))
                    rows.append([kind, str(clients), *seen.cells])
                    print("  ".join(rows[-1]), flush=True)
    return rows


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.devnull))
    for name, value in (("items", 100_000), ("users", 20_000), ("replicas", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seconds", type=float, default=15.0)
    args = parser.parse_args()
    if args.items < K or args.users < 1:
        raise UserError(f"--items: at least {K}; --users: at least 1")
    before = os.getloadavg()
    rows = measure(args)
    threads = f"{args.replicas} replica{'s' * (args.replicas != 1)} with 1 thread each, clients on the same machine"
    head = record(["benchmarks/serving.py", "bifair_dist"], threads, before)
    about = f"- {args.items:,} items, {args.users:,} users, vectors {WIDTH} wide, lists of {K}; {args.seconds:g} s each"
    shown = table(["request", "clients", "answers/s", "p50, ms", "p99, ms", "processor, ms", "not 200"], rows)
    print(write(args.out, "The service under load", [*head, about], shown))


if __name__ == "__main__":
    run_job(main)
