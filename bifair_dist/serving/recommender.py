"""Lists from the vectors of a finished run: of users it knows, of users by what they have, and items near an item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.errors import UserError
from bifair_dist.evaluation.scan import product_topk
from bifair_dist.model.unseen import Unseen

Strings = npt.NDArray[np.object_]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
EXCLUDED = {"all": ("train", "valid", "test"), "valid": ("train", "valid"), "train": ("train",), "none": ()}
"""What users have, by the name under which it is left out of their lists: the splits in it."""
BLOCK = 4096
"""Users ranked at a time."""


class UnknownIdError(UserError):
    """An id of a user or item that is not there."""


@dataclass
class Recommender:
    """Everything in memory of one process.

    `items` [N, k] and `users` [U, k] are the ranking vectors, whose inner products are the scores; `pairs` are (user,
    item) indices by split. `make_unseen` is called at the first list for a history or a new item.
    """

    item_ids: Strings
    titles: Strings
    user_ids: Strings
    items: Tensor
    users: Tensor
    pairs: Mapping[str, Pairs]
    make_unseen: Callable[[], Unseen]
    _known: dict[str, Csr] = field(default_factory=dict)

    @cached_property
    def unseen(self) -> Unseen:
        """What vectors of new users and items are made of."""
        return self.make_unseen()

    @cached_property
    def _item_index(self) -> pd.Index:
        return pd.Index(self.item_ids, dtype=object)  # of text, each look-up would convert all of it

    @cached_property
    def _user_index(self) -> pd.Index:
        return pd.Index(self.user_ids, dtype=object)

    @cached_property
    def _directions(self) -> Tensor:
        return F.normalize(self.items, dim=1)

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 20,
        *,
        exclude: str = "all",
        leave_out: Sequence[str] = (),
        source: str = "users",
    ) -> pd.DataFrame:
        """Top-k of each user (None: all): user_id, rank (from 1), item_id, title, score; users in the order given.

        `exclude`: what users have that is left out (`EXCLUDED`); `leave_out`: ids of further items, for everybody.
        Raises `UserError` for an id that is not there, naming `source`.
        """
        wanted = torch.arange(len(self.user_ids)) if users is None else self._rows_of_users(users, source)
        known = self._known_pairs(exclude)
        out = self._out(leave_out)
        parts = []
        for block in wanted.split(BLOCK):
            row, item = known.expand(block)
            parts.append(self._top(self.users[block], k, row, item, out))
        names = self.user_ids[wanted.numpy()]
        return self._table({"user_id": names}, parts, k)

    def recommend_for(
        self, histories: Sequence[Sequence[str]], k: int = 20, *, leave_out: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Top-k of users whom the model does not know, each given by the ids of what they have, which is left out.

        Columns `history` (place of the user, from 0), rank, item_id, title, score. How: `model/unseen.py`. Raises
        `UserError` for an item that is not there, or an empty history.
        """
        if any(not history for history in histories):
            raise UserError("history: empty; give at least one item that the user has")
        items = [self._rows_of_items(history, "history") for history in histories]
        row = torch.cat([torch.full_like(found, n) for n, found in enumerate(items)] or [torch.empty(0).long()])
        have = Csr.of(row, torch.cat([*items, row[:0]]), len(histories))
        vectors = self.unseen.users(have)
        found = self._top(vectors, k, *have.expand(torch.arange(len(histories))), self._out(leave_out))
        return self._table({"history": np.arange(len(histories))}, [found], k)

    def similar_items(self, item: str, k: int = 20) -> pd.DataFrame:
        """The k items of the highest cosine with `item` in the model's space: rank, item_id, title, score.

        Raises `UserError` for an item that is not there.
        """
        return self.similar_to([item], k).drop(columns="place")

    def similar_to(self, items: Sequence[str], k: int = 20) -> pd.DataFrame:
        """The same for several items at once: place (of the item in `items`, from 0), rank, item_id, title, score."""
        rows = self._rows_of_items(items, "item")
        itself = torch.arange(len(rows)), rows
        found = self._ranked(self._directions[rows], self._directions, k, *itself)
        return self._table({"place": np.arange(len(rows))}, [found], k)

    # -- what is there ---------------------------------------------------------------------------------------------

    def check_user(self, user: str) -> None:
        """Raises `UnknownIdError` for a user that is not there."""
        self._rows_of_users([user], "user")

    def check_items(self, items: Sequence[str], source: str) -> None:
        """Raises `UnknownIdError` for an item that is not there, naming `source`."""
        self._rows_of_items(items, source)

    # -- new items -------------------------------------------------------------------------------------------------

    def with_items(self, item_ids: Sequence[str], titles: Sequence[str], z: Tensor) -> Recommender:
        """The same with further items, from their representations `z` [m, d] (`serving/new_items.py`).

        They are ranked, similar to others, and may be in a history. Raises `UserError` for an id that is there already,
        or a model on id embeddings.
        """
        ids = np.array(item_ids, object)
        double = pd.Index(ids)[pd.Index(ids).duplicated() | pd.Index(ids).isin(self._item_index)]
        if len(double):
            raise UserError(f"new items: {double[0]!r} is in the catalogue already; give it another id")
        try:
            vectors = self.unseen.items(z)
        except ValueError as error:
            raise UserError(f"new items: {error}; train bifair or alpharec") from None
        unseen = self.unseen.with_items(z)
        return Recommender(
            np.concatenate([self.item_ids, ids]),
            np.concatenate([self.titles, np.array(titles, object)]),
            self.user_ids,
            torch.cat([self.items, vectors]),
            self.users,
            self.pairs,
            lambda: unseen,
        )

    # -- parts -----------------------------------------------------------------------------------------------------

    def _top(self, vectors: Tensor, k: int, row: Tensor, item: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Without the pairs (row, item), and without the items `out`."""
        if len(out):
            everybody = torch.arange(len(vectors)).repeat_interleave(len(out))
            pairs = torch.stack([torch.cat([row, everybody]), torch.cat([item, out.repeat(len(vectors))])])
            row, item = (side.contiguous() for side in torch.unique(pairs, dim=1))
        return self._ranked(vectors, self.items, k, row, item)

    def _ranked(self, vectors: Tensor, items: Tensor, k: int, row: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        if k < 1:
            raise UserError(f"k: {k}; give 1 or more")
        return product_topk(vectors, items, min(k, len(items)), (row, item))

    def _known_pairs(self, exclude: str) -> Csr:
        if exclude not in EXCLUDED:
            raise UserError(f"exclude: {exclude!r} is none of {', '.join(EXCLUDED)}")
        if exclude not in self._known:
            none = np.empty(0, np.int64)
            user, item = (
                torch.from_numpy(np.concatenate([none, *(self.pairs[split][side] for split in EXCLUDED[exclude])]))
                for side in (0, 1)
            )
            self._known[exclude] = Csr.of(user, item, len(self.user_ids))
        return self._known[exclude]

    def _rows_of_users(self, users: Iterable[str], source: str) -> Tensor:
        asked = list(dict.fromkeys(users))
        return _places(self._user_index, asked, source, "user of the run")

    def _rows_of_items(self, items: Iterable[str], source: str) -> Tensor:
        return _places(self._item_index, list(items), source, "item of the catalogue")

    def _out(self, items: Sequence[str]) -> Tensor:
        return torch.unique(self._rows_of_items(items, "leave_out")) if items else torch.empty(0).long()

    def _table(
        self, who: dict[str, npt.NDArray[np.generic]], parts: list[tuple[Tensor, Tensor]], k: int
    ) -> pd.DataFrame:
        scores, items = (torch.cat([part[side] for part in parts]).numpy() for side in (0, 1))
        there = items >= 0  # lists end early where a user has almost the whole catalogue
        row, rank = np.nonzero(there)
        item = items[there]
        return pd.DataFrame(
            {
                **{name: column[row] for name, column in who.items()},
                "rank": (rank + 1).astype(np.int32),
                "item_id": self.item_ids[item],
                "title": self.titles[item],
                "score": scores[there],
            }
        )


def _places(index: pd.Index, asked: list[str], source: str, what: str) -> Tensor:
    """Indices int64 of ids, which are text as in the dataset."""
    found = index.get_indexer(pd.Index(asked, dtype=object))
    if (found < 0).any():
        first = asked[int((found < 0).argmax())]
        raise UnknownIdError(f"{source}: {first!r} is no {what} ({int((found < 0).sum())} such ids)")
    return torch.from_numpy(found.astype(np.int64))
