"""The service on Ray Serve: fronts speak HTTP, rankers hold the vectors and rank what comes in together.

    request -> Ray Serve's proxy -> Front (http_app) -> Ranker (answers), tried again on another one where it died

A ranker looks every `poll` seconds whether its source has another version, reads it beside the one in use and then
swaps them: no request waits for it, and one that cannot be read changes nothing. Memory holds two versions meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from bifair_dist.serving.answers import Ask, Found, Refusal, answers
from bifair_dist.serving.http_app import Health, make_app
from bifair_dist.serving.service_settings import ServeSettings, ServiceSettings
from bifair_dist.serving.source import source_of
from bifair_dist.settings import override

T = TypeVar("T")
UNAVAILABLE = 503
DIED = (RayActorError, ReplicaUnavailableError, DeploymentUnavailableError)
"""What a front says where the ranker that had the request is gone. Every request only reads: it may be repeated."""
PAUSE = 0.05
"""Seconds before a request is tried again."""
log = logging.getLogger("ray.serve")


class Ranker:
    """One process with all vectors."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._source = source_of(settings.run, settings.registry)
        now = self._source.current()
        self._served = now.name, now.load()
        self.rank.set_max_batch_size(settings.serve.batch)  # type: ignore[attr-defined]
        self.rank.set_batch_wait_timeout_s(settings.serve.batch_wait)  # type: ignore[attr-defined]
        if settings.serve.poll:
            threading.Thread(target=self._watch, daemon=True).start()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def rank(self, asks: list[Ask]) -> list[Found | Refusal]:
        """Answers to requests that came at about the same time. Called with one of them."""
        version, model = self._served
        # Beside the event loop, which gathers the next batch meanwhile.
        return await asyncio.to_thread(answers, model, version, asks, self._settings.serve.exclude)

    async def health(self) -> Health:
        """What is served."""
        version, model = self._served
        return Health(status="ok", version=version, items=len(model.item_ids), users=len(model.user_ids))

    def _watch(self) -> None:
        said = ""
        while True:
            time.sleep(self._settings.serve.poll)
            try:
                now = self._source.current()
                if now.name != self._served[0]:
                    self._served = now.name, now.load()
                    log.warning("serving %s from now on", now.name)
                said = ""
            except Exception as error:  # of a bad version; the one in use stays
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                if reason != said:
                    log.warning("still serving %s: %s", self._served[0], reason)
                said = reason


class Front:
    """One process that speaks HTTP."""

    def __init__(self, ranker: DeploymentHandle, limits: ServiceSettings) -> None:
        self._ranker, self._limits = ranker, limits

    def __serve_build_asgi_app__(self) -> FastAPI:
        """What Ray Serve calls for the application."""
        return make_app(self._ask, self._health, self._limits)

    async def _ask(self, ask: Ask) -> Found | Refusal:
        return await self._tried(lambda: self._ranker.rank.remote(ask))

    async def _health(self) -> Health | Refusal:
        return await self._tried(lambda: self._ranker.health.remote())

    async def _tried(self, call: Callable[[], Awaitable[T]]) -> T | Refusal:
        """Until a ranker answers, or the time is over."""
        try:
            async with asyncio.timeout(self._limits.timeout):
                while True:
                    try:
                        return await call()
                    except DIED:
                        await asyncio.sleep(PAUSE)
        except BackPressureError:
            return Refusal(UNAVAILABLE, "too many requests are waiting; try again later")
        except TimeoutError:
            return Refusal(UNAVAILABLE, f"no answer within {self._limits.timeout:g} s; try again later")


def application(arguments: Mapping[str, Any] | ServeSettings) -> serve.Application:
    """The application for `serve.run`, or, with settings as a mapping, for `args` of a Serve config file.

    Raises `UserError` for settings that are wrong, and where there is nothing to serve.
    """
    settings = (
        arguments
        if isinstance(arguments, ServeSettings)
        else override(ServeSettings(), arguments, "args of the service")
    )
    source_of(settings.run, settings.registry).current()
    limits = settings.serve
    common: dict[str, Any] = {"health_check_period_s": 2, "graceful_shutdown_wait_loop_s": 0.5}
    ranker = serve.deployment(
        name="Ranker",
        num_replicas=limits.replicas,
        max_ongoing_requests=2 * limits.batch,  # one batch that is ranked and one that gathers
        max_queued_requests=limits.waiting,
        ray_actor_options={"num_cpus": limits.threads},
        **common,
    )(Ranker)
    front = serve.deployment(
        name="Front",
        num_replicas=limits.fronts,
        max_ongoing_requests=limits.waiting + 2 * limits.batch * limits.replicas,  # so that the limit above decides
        ray_actor_options={"num_cpus": 0},
        **common,
    )(serve.ingress()(Front))
    return front.bind(ranker.bind(settings), limits)
