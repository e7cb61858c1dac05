"""The service on Ray Serve: `jobs/serve.py` with two rankers, asked by several clients at a time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_runs import Small, run

from bifair_dist.errors import UserError
from bifair_dist.serving.service import serve_forever
from bifair_dist.serving.service_settings import ServeSettings, ServiceSettings

pytest.importorskip("ray.serve", exc_type=ImportError, reason="needs the extra serve")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Service:
    """Where it is, the link that it serves, and its process."""

    url: str
    link: Path
    process: subprocess.Popen[str]

    def ask(self, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def lists(self, users: list[str]) -> list[dict[str, Any]]:
        """Their lists, eight at a time."""
        paths = [f"/recommend?{urllib.parse.urlencode({'user': user})}" for user in users]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(self.ask, paths))
        assert {status for status, _ in found} == {200}
        return [answer for _, answer in found]

    @contextmanager
    def under_load(self, user: str) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Four clients ask all the time; their answers so far."""
        found: list[tuple[int, dict[str, Any]]] = []
        over = threading.Event()

        def client() -> None:
            while not over.is_set():
                found.append(self.ask("/recommend", {"user": user}))

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(client) for _ in range(4)]
            try:
                yield found
            finally:
                over.set()
            for each in done:
                each.result()


def wait(until: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.2)


def rankers(service: Service) -> set[int]:
    """Process ids of the rankers below the service's process."""
    parent, title = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            status, words = (place / "stat").read_text(), (place / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(place.name)
        parent[pid], title[pid] = int(status.rpartition(")")[2].split()[1]), words

    def ours(pid: int) -> bool:
        return pid == service.process.pid or (pid in parent and ours(parent[pid]))

    return {pid for pid, words in title.items() if "Replica:bifair:Ranker" in words and ours(pid)}


@pytest.fixture(scope="module")
def runs(small: Small, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    methods = ("bifair", "alpharec")
    return [run(small, place, {"training.run_name": name, "training.method": name}) for name in methods]


@pytest.fixture(scope="module")
def service(runs: list[Path]) -> Iterator[Service]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, link = free.getsockname()[1], runs[0].parent / "live"
    link.symlink_to(runs[0])
    words = f"--serve.port {port} --serve.replicas 2 --serve.exclude valid --serve.poll 0.3 --serve.max_body 2000"
    process = subprocess.Popen(
        [sys.executable, "jobs/serve.py", str(link), *words.split()],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"serving at http://127.0.0.1:{port}"), line + process.communicate(timeout=60)[0]
    try:
        yield Service(f"http://127.0.0.1:{port}", link, process)
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and rest.endswith("the same command starts it again\n"), rest
    assert "Traceback" not in rest, rest


def equal(answers: list[dict[str, Any]], folder: Path, users: list[str]) -> None:
    want = {str(user): table for user, table in pd.read_parquet(folder / "recommendations.parquet").groupby("user_id")}
    for user, answer in zip(users, answers, strict=True):
        assert answer["version"].startswith(f"{folder.name}@")
        assert [row["item_id"] for row in answer["items"]] == want[user]["item_id"].tolist()
        np.testing.assert_allclose([row["score"] for row in answer["items"]], want[user]["score"], atol=1e-6)


def users_of(folder: Path) -> list[str]:
    return [str(user) for user in pd.read_parquet(folder / "recommendations.parquet")["user_id"].unique()]


def test_the_lists_of_the_run(service: Service, runs: list[Path]) -> None:
    users = users_of(runs[0])
    equal(service.lists(users), runs[0], users)
    assert service.ask("/health")[1]["users"] == 150


def test_bad_input_is_one_line(service: Service) -> None:
    for path, body, status in (
        ("/recommend?user=nobody", None, 404),
        ("/similar?item=no", None, 404),
        ("/recommend?user=x&k=1001", None, 422),
        ("/recommend", {"history": []}, 422),
        ("/recommend", b"{", 400),
        ("/recommend", {"user": "x" * 2000}, 413),
        ("/nothing", None, 404),
    ):
        got, told = service.ask(path, body)
        assert (got, list(told)) == (status, ["error"]) and "\n" not in told["error"], (path, got, told)


def test_a_killed_ranker_loses_no_request(service: Service, runs: list[Path]) -> None:
    def replaced(victim: int) -> bool:
        return len(rankers(service) - {victim}) == 2

    user, before = users_of(runs[0])[0], rankers(service)
    assert len(before) == 2
    with service.under_load(user) as answers:
        for victim in sorted(before):
            time.sleep(1)
            os.kill(victim, signal.SIGKILL)
            wait(partial(replaced, victim))
    assert {status for status, _ in answers} == {200} and len(answers) > 60
    assert all(answer == answers[0][1] for _, answer in answers)


def test_another_run_is_served_when_the_link_is_set_to_it(service: Service, runs: list[Path]) -> None:
    first, second = runs
    users = users_of(second)

    def point(to: Path) -> None:
        new = service.link.with_name("new")
        new.symlink_to(to)
        new.replace(service.link)  # at once: there is always a link

    def both_serve(folder: Path) -> bool:
        return all(a["version"].startswith(f"{folder.name}@") for a in service.lists(users[:24]))

    with service.under_load(users[0]) as answers:
        point(second)
        wait(lambda: both_serve(second))
    equal(service.lists(users), second, users)
    point(first.parent / "nothing")  # what cannot be read changes nothing
    time.sleep(1.5)
    equal(service.lists(users), second, users)
    point(first)
    wait(lambda: both_serve(first))
    assert {status for status, _ in answers} == {200}


def settings(folder: Path, **limits: Any) -> ServeSettings:
    return ServeSettings(run=str(folder), serve=ServiceSettings(**limits))


def test_what_cannot_be_served_is_one_line(
    service: Service, runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="is no run folder"):
        serve_forever(settings(tmp_path))
    with pytest.raises(UserError, match="models:/shop: write models:/NAME@ALIAS or models:/NAME/VERSION"):
        serve_forever(ServeSettings(run="models:/shop"))
    with pytest.raises(UserError, match=r"serve.port: cannot listen on 127.0.0.1:\d+ \(Address already in use\)"):
        serve_forever(settings(runs[0], port=int(service.url.rpartition(":")[2])))
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    monkeypatch.delattr(ray, "serve", raising=False)
    with pytest.raises(UserError, match=r"Ray Serve is not installed .*; pip install 'bifair-dist\[serve\]'"):
        serve_forever(settings(runs[0]))
