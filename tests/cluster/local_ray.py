"""A Ray cluster of two node processes on loopback, with a token, in a home folder of its own, and its job client."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]  # the `ray` of this environment, wherever its folder is
LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listens on; the test is skipped where none can be opened."""
    try:
        with ExitStack() as open_together:
            sockets = [open_together.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind((LOOPBACK, 0))
            return [each.getsockname()[1] for each in sockets]
    except OSError as error:
        pytest.skip(f"no port can be opened on {LOOPBACK}: {error}")


@dataclass(frozen=True, slots=True)
class LocalRay:
    """Address of the dashboard, environment of a client that may speak to it, its token, Ray's session folder."""

    address: str
    environment: Mapping[str, str]
    token: str
    sessions: Path
    heads: list[subprocess.Popen[bytes]]
    root: Path = ROOT

    @property
    def head(self) -> int:
        """Process id of the head node."""
        return self.heads[0].pid

    def client(self, *arguments: str) -> int:
        """Run `ray job ...` to its end; its exit code."""
        command = [*RAY, "job", *arguments]
        done = subprocess.run(command, env=dict(self.environment), cwd=self.root, capture_output=True, timeout=120)
        return done.returncode

    def submit(self, identity: str, *entrypoint: str) -> list[str]:
        """Arguments of `ray job` as README shows them, with a name for the job."""
        where = ["--address", self.address, "--submission-id", identity, "--working-dir", "."]
        return ["submit", *where, "--", *entrypoint]

    def get(self, path: str) -> Any:
        """JSON from the dashboard."""
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def two_nodes() -> Iterator[LocalRay]:
    """A head and a second node, four CPUs each: two workers of three CPUs have to take one node each.

    The processes are ended one by one at the end; `ray stop` would end every Ray of this machine.
    """
    home = Path(tempfile.mkdtemp(prefix="bf"))  # short: Ray's sockets lie below it, and their paths hold 107 bytes
    gcs, dashboard, *rest = free_ports(10)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TORCHELASTIC"))}
    environment |= {
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A node that is killed is noticed in seconds, not in the minute that Ray gives a slow network.
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "4000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # of a start that still counted on that node
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # `python` of an entry point is this one
    }
    done = subprocess.run([*RAY, "get-auth-token", "--generate"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    token = (home / ".ray" / "auth_token").read_text().strip()
    processes: list[subprocess.Popen[bytes]] = []
    ray = LocalRay(f"http://{LOOPBACK}:{dashboard}", environment, token, home / "ray", processes)
    head = [
        *("--head", f"--port={gcs}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--ray-client-server-port={rest[0]}", f"--temp-dir={ray.sessions}"),
    ]
    try:
        # A session folder of its own, as on a machine of its own: a node that unpacks the uploaded program anew removes
        # what is there, and in one folder for both that is the working folder of the job that runs on the other.
        second = [f"--address={LOOPBACK}:{gcs}", f"--temp-dir={home / 'ray2'}"]
        for place in (head, second):
            ports = [rest.pop(), rest.pop(), rest.pop()]
            agents = ("dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port")
            options = [f"--{name}={port}" for name, port in zip(agents, ports, strict=True)]
            options += ["--num-cpus=4", "--num-gpus=0", "--object-store-memory=100000000", "--disable-usage-stats"]
            command = [*RAY, "start", "--block", f"--node-ip-address={LOOPBACK}", *place, *options]
            with (home / f"node{len(processes)}.log").open("w") as log:
                started = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            processes.append(started)
            nodes = len(processes)
            _wait(lambda nodes=nodes: _alive(ray) == nodes, f"node {nodes} to join", processes, home)
        yield ray
    finally:
        _end(processes)
        shutil.rmtree(home, ignore_errors=True)


def _alive(ray: LocalRay) -> int:
    try:
        nodes = ray.get("/api/v0/nodes?detail=true")["data"]["result"]["result"]
    except OSError:
        return 0
    return sum(node["state"] == "ALIVE" for node in nodes)


def _wait(ready: Any, what: str, processes: list[subprocess.Popen[bytes]], home: Path) -> None:
    end = time.monotonic() + 240
    while not ready():
        logs = "\n".join(f"{log.name}: {log.read_text()}" for log in home.glob("*.log"))
        assert all(p.poll() is None for p in processes), f"Ray ended: {logs}"
        assert time.monotonic() < end, f"waited 240 s for {what}: {logs}"
        time.sleep(0.5)


def _end(roots: list[subprocess.Popen[bytes]]) -> None:
    """End these processes and whatever they started."""
    family = {p for root in roots for p in descendants(root.pid)}
    for process in roots:
        process.terminate()
    for process in roots:
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
    for pid in family & set(_parents()):  # those that ended in between are not in the table any more
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    """Processes that `pid` started, and those that they started."""
    parents = _parents()
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def _parents() -> dict[int, int]:
    """Parent of every process of this machine."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            table[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return table
