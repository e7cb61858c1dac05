"""`jobs/serve.py`: start the service, say where it is, and end it."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bifair_dist.errors import Interrupted, UserError
from bifair_dist.serving.service_settings import ServeSettings
from bifair_dist.serving.source import source_of
from bifair_dist.workers.ray_cluster import connect

APPLICATION = "bifair"


def serve_forever(settings: ServeSettings) -> None:
    """Serve until Ctrl-C or `kill`. Raises `UserError`, then `Interrupted`."""
    with serving(settings) as url:
        print(f"serving at {url}, described at {url}/docs; Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            raise Interrupted("the service has ended; the same command starts it again") from None


@contextmanager
def serving(settings: ServeSettings) -> Iterator[str]:
    """The service for the block: its URL. Raises `UserError`."""
    limits = settings.serve
    source_of(settings.run, settings.registry).current()
    try:
        from ray import serve
    except ImportError as error:
        raise UserError(f"Ray Serve is not installed ({error}); pip install 'bifair-dist[serve]'") from None
    import ray

    remote = limits.address or os.environ.get("RAY_ADDRESS")
    if not remote:
        _check_free(limits.host, limits.port)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    threads = str(limits.threads)
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    connect(limits.address, max(os.cpu_count() or 1, limits.replicas * limits.threads), variables)
    try:
        from bifair_dist.serving.on_serve import application

        serve.start(proxy_location="HeadOnly", http_options={"host": limits.host, "port": limits.port})
        # No access log: its lines would hold who asked for what.
        quiet = {"log_level": "WARNING", "enable_access_log": False}
        try:
            serve.run(application(settings), name=APPLICATION, route_prefix="/", logging_config=quiet)
        except RuntimeError as error:
            raise UserError(f"the service did not start: {_reason(str(error))}") from None
        yield f"http://{limits.host}:{limits.port}"
    finally:
        if remote:
            serve.delete(APPLICATION)
        ray.shutdown()  # a local one ends with all that it runs; asking Serve first takes 30 s where it was killed, too


def _check_free(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UserError(f"serve.port: cannot listen on {host}:{port} ({error.strerror}); give another one") from None


def _reason(text: str) -> str:
    """The one line of a replica's stack that says what is wrong."""
    said = re.findall(r"UserError[^:]*: (.+)", text)
    return said[-1] if said else text.strip().splitlines()[-1]
