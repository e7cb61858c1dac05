"""The service's HTTP side: routes, limits, errors of one line. Knows nothing of Ray: who ranks is passed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.exceptions import HTTPException as StarletteHTTPException

from bifair_dist.serving.answers import Ask, Found, Refusal
from bifair_dist.serving.body_limit import BodyLimit
from bifair_dist.serving.service_settings import ServiceSettings

T = TypeVar("T")
K = 20
"""Length of a list where none is given, as in `jobs/recommend.py`."""


class Item(BaseModel):
    """A row of a list."""

    rank: int = Field(description="from 1")
    item_id: str
    title: str
    score: float = Field(description="inner product of user and item; of similar items the cosine")


class Answer(BaseModel):
    """A list, best first; shorter than k where the catalogue has no more."""

    version: str = Field(description="version of the model that ranked")
    items: list[Item]


class Health(BaseModel):
    """What is served now."""

    status: str
    version: str
    items: int
    users: int


class Problem(BaseModel):
    """Why there is no answer."""

    error: str


class Question(BaseModel):
    """Body of `POST /recommend`: a user, or a history of item ids for somebody whom the model does not know."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    user: str | None = None
    history: list[str] | None = None
    k: StrictInt = K
    exclude: list[str] = Field(default=[], description="further items not to be shown")


def make_app(
    ask: Callable[[Ask], Awaitable[Found | Refusal]],
    health: Callable[[], Awaitable[Health | Refusal]],
    limits: ServiceSettings,
) -> FastAPI:
    """The ASGI application. `ask` ranks one request, `health` tells what is served."""
    problems: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (404, 413, 422, 503)}
    app = FastAPI(title="bifair-dist", description="Lists of a finished run.", responses=problems)
    app.add_middleware(BodyLimit, limit=limits.max_body)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _fault)

    async def answer(wanted: Ask) -> Answer:
        _check_size("k", wanted.k, limits.max_k)
        for name, ids in (("history", wanted.history or ()), ("exclude", wanted.exclude)):
            _check_size(name, len(ids), limits.max_history, " ids")
        found = _or_refuse(await ask(wanted))
        items = [Item(rank=n, item_id=i, title=t, score=s) for n, (i, t, s) in enumerate(found.rows, 1)]
        return Answer(version=found.version, items=items)

    @app.get("/recommend")
    async def recommend(user: str, k: int = K) -> Answer:
        """The best items for a user of the run, without what the user has."""
        return await answer(Ask(k, user=user))

    @app.post("/recommend")
    async def recommend_to(question: Question) -> Answer:
        """The same for a user, or for somebody else by what they have, without some items."""
        if (question.user is None) == (question.history is None):
            raise HTTPException(422, "give a user, or a history of item ids, and not both")
        history = None if question.history is None else tuple(question.history)
        return await answer(Ask(question.k, user=question.user, history=history, exclude=tuple(question.exclude)))

    @app.get("/similar")
    async def similar(item: str, k: int = K) -> Answer:
        """The items nearest to an item."""
        return await answer(Ask(k, item=item))

    @app.get("/health")
    async def healthy() -> Health:
        """Whether lists can be made, and of which version."""
        return _or_refuse(await health())

    return app


def _or_refuse(found: T | Refusal) -> T:
    if isinstance(found, Refusal):
        raise HTTPException(found.status, found.reason)
    return found


def _check_size(name: str, size: int, most: int, unit: str = "") -> None:
    if size > most:
        raise HTTPException(422, f"{name}: {size}{unit}; at most {most} are answered")


def _problem(status: int, reason: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": " ".join(reason.split())}, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StarletteHTTPException)
    return _problem(error.status_code, str(error.detail), error.headers)


async def _not_understood(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _problem(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _problem(422, f"{where}: {first['msg']}")


async def _fault(request: Request, error: Exception) -> JSONResponse:
    """The stack goes to the server's log, not to whoever asked."""
    return _problem(500, "the service failed; its log says why")
