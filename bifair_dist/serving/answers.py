"""Requests of the service, ranked together: each gets what it would get alone, and a bad one spoils no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bifair_dist.errors import UserError
from bifair_dist.serving.recommender import Recommender, UnknownIdError

Row = tuple[str, str, float]
"""item id, title, score."""
NOT_FOUND, UNPROCESSABLE = 404, 422


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a list for a `user`, or for a `history` of item ids, or the items near an `item`."""

    k: int = 20
    user: str | None = None
    history: tuple[str, ...] | None = None
    item: str | None = None
    exclude: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Which of the three."""
        return "user" if self.user is not None else "history" if self.history is not None else "item"


@dataclass(frozen=True, slots=True)
class Found:
    """The list, best first, and the version of the model that made it."""

    version: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is none: an HTTP status and one line."""

    status: int
    reason: str


def answers(model: Recommender, version: str, asks: Sequence[Ask], exclude: str = "all") -> list[Found | Refusal]:
    """An answer for each request, in their order. `exclude`: as in `Recommender.recommend`, for known users."""
    out: list[Found | Refusal] = [Refusal(UNPROCESSABLE, "")] * len(asks)
    together: dict[tuple[str, int], list[int]] = {}
    for n, ask in enumerate(asks):
        try:
            _check(model, ask)
        except UserError as error:
            out[n] = Refusal(NOT_FOUND if isinstance(error, UnknownIdError) else UNPROCESSABLE, str(error))
        else:
            together.setdefault((ask.kind, _width(ask)), []).append(n)
    for (kind, width), places in together.items():
        group = [asks[n] for n in places]
        lists = _lists(model, kind, group, width, exclude)
        for n, ask, rows in zip(places, group, lists, strict=True):
            unwanted = set(ask.exclude)
            out[n] = Found(version, [row for row in rows if row[0] not in unwanted][: ask.k])
    return out


def _check(model: Recommender, ask: Ask) -> None:
    if ask.k < 1:
        raise UserError(f"k: {ask.k}; give 1 or more")
    if ask.user is not None:
        model.check_user(ask.user)
    elif ask.history is not None:
        if not ask.history:
            raise UserError("history: empty; give at least one item that the user has")
        model.check_items(ask.history, "history")
    else:
        model.check_items([ask.item or ""], "item")
    if ask.exclude:
        model.check_items(ask.exclude, "exclude")


def _width(ask: Ask) -> int:
    """Length of the list that surely holds k items which are not excluded, as a power of two: requests of about the
    same length are ranked together, and a long one does not make all the others long.
    """
    return 1 << (ask.k + len(set(ask.exclude)) - 1).bit_length()


def _lists(model: Recommender, kind: str, asks: Sequence[Ask], width: int, exclude: str) -> list[list[Row]]:
    if kind == "user":
        users = [ask.user or "" for ask in asks]
        by_user = _by(model.recommend(users, width, exclude=exclude), "user_id")
        return [by_user.get(user, []) for user in users]
    if kind == "history":
        table, key = model.recommend_for([ask.history or () for ask in asks], width), "history"
    else:
        table, key = model.similar_to([ask.item or "" for ask in asks], width), "place"
    by_place = _by(table, key)
    return [by_place.get(place, []) for place in range(len(asks))]


def _by(table: pd.DataFrame, key: str) -> dict[object, list[Row]]:
    lists: dict[object, list[Row]] = {}
    columns = (table[name].tolist() for name in (key, "item_id", "title", "score"))
    for who, item, title, score in zip(*columns, strict=True):
        lists.setdefault(who, []).append((item, title, score))
    return lists
