"""The load test of the service: its catalogue can be served, and its clients time and count what they get."""

from __future__ import annotations

import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from benchmarks.serving import KINDS, catalogue, load
from bifair_dist.serving.model_folder import read_model


class Slow(BaseHTTPRequestHandler):
    """Answers after 20 ms, every request for user u0 with 503."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(0.02)
        self.send_response(503 if "user=u0&" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_clients_count_and_time_answers() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        seen = load(server.server_port, 3, 1.0, partial(KINDS["GET /recommend"], 10, 2))
    finally:
        server.shutdown()
        server.server_close()
    assert 3 <= len(seen.times) <= 150 and seen.times.min() >= 0.02  # 3 clients, 20 ms each: 150 in a second
    assert 0 < seen.refused < len(seen.times)
    assert seen.cells[0] == str(len(seen.times))


def test_the_catalogue_can_be_served(tmp_path: Path) -> None:
    model = read_model(catalogue(tmp_path / "model", 50, 8))
    draw = np.random.default_rng(0)
    assert len(model.recommend(["u3"], 20)) == 20 and len(model.similar_items("i7", 20)) == 20
    assert len(model.recommend_for([["i1", "i2"]], 20)) == 20
    for make in KINDS.values():
        method, path, body = make(50, 8, draw)
        assert method in ("GET", "POST") and path.startswith("/") and (method == "POST") == bool(body)
