"""Whether a preparation looks as it was meant: what a person should know before training on it.

What makes a dataset wrong is an error where it is found; what may be meant is a warning that names the setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.dataset import GroupTable
from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes
from bifair_dist.errors import UserError

_USUAL_SCALE = 5.0  # highest rating of the scales that the default threshold is made for
_MANY_GROUPS = 50
_SAME_TITLE = 0.2  # share of items with the title of another from which it is reported
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)  # of time, in a second
_NO_NAME = re.compile(
    r"\W*(un(known|named|branded|specified|defined|titled)|no[ -]?(brand|name|author|artist|genres?|category|publisher)"
    r"|not (available|applicable|specified|listed|given)|n/?a|others?|various|misc(ellaneous)?|generic|anonymous"
    r"|missing|tb[ad])"
    r"(\W+(brands?|publishers?|authors?|artists?|developers?|stud(io|ios)|labels?|sellers?|stores?|directors?|makers?"
    r"|manufacturers?|genres?|categor(y|ies)|listed))?\W*|[\W_]+",
    re.IGNORECASE,
)
"""Words that stand where there is no name: Unknown, (no genres listed), N/A, Various Artists, "-"."""


def tell_values(raw: RawData, min_rating: float | None, *, asked: bool) -> None:
    """Range of ratings and of times, and whether the rating threshold suits it. Raises `UserError` for mixed times."""
    notes, rating, stamp = raw.notes, raw.pairs.rating, raw.pairs.timestamp
    if not len(raw.pairs):
        return
    if rating is None:
        notes.say("no ratings: every pair counts as liked")
    else:
        low, high = float(rating.min()), float(rating.max())
        notes.say(f"ratings from {low:g} to {high:g}; {min_rating:g} and above count as liked")
        if low < 0:
            below = int((rating < 0).sum())
            notes.warn(f"{below:,} ratings are below 0; where that means 'not rated', take these rows out")
        if high > _USUAL_SCALE and not asked:
            notes.warn(f"ratings go up to {high:g}, the default threshold is for 1 to 5: choose one with --min-rating")
    if stamp is not None:
        first, last = int(stamp.min()), int(stamp.max())
        notes.say(f"timestamps from {_day(first)} to {_day(last)}")
        if _unit(first) and _unit(last) and _unit(first) != _unit(last):
            where = f"{raw.files[0]}: " if raw.files else ""
            raise UserError(
                f"{where}timestamps are in two units, from {first} to {last} (seconds and milliseconds, perhaps): "
                "their order would be wrong; bring them to one"
            )
        early = int((stamp <= 0).sum())
        if early and _unit(last):
            notes.warn(
                f"{early:,} timestamps are 0 or below, which --split temporal and leave-last-out take for the oldest"
            )
        if first == last and len(stamp) > 1:
            notes.warn("all timestamps are equal: --split temporal and leave-last-out have no order to go by")


def tell_titles(items: pa.Table, notes: Notes) -> None:
    """Titles that many items share, and titles that are mere numbers."""
    titles = items["title"]
    shared = len(titles) - len(pc.unique(titles))
    if shared > _SAME_TITLE * len(titles):
        notes.warn(f"{shared:,} of {len(titles):,} items have the title of another item: is it the right column?")
    numeric = pc.sum(pc.match_substring_regex(titles, r"^[\d.,]+$")).as_py() or 0
    if numeric > 0.5 * len(titles):
        notes.warn(f"{numeric:,} of {len(titles):,} titles are numbers: is it the right column?")


def tell_splits(pairs: Mapping[str, int], kind: str, notes: Notes) -> None:
    """Parts of the split without a pair."""
    if not pairs["valid"] or not pairs["test"]:
        empty = " and ".join(name for name in ("valid", "test") if not pairs[name])
        why = {
            "given": "of a user with a pair in train, in the split that the source brings",
            "leave-last-out": "no user has three pairs",
        }
        short = "the users' shares of 10 % and 20 % round to nothing"
        notes.warn(
            f"no pair in {empty} ({why.get(kind, short)}); training needs both: another --split or a higher --k-core"
        )


def tell_groups(tables: Sequence[GroupTable], notes: Notes) -> None:
    """Groups that a fair training should hardly balance: one alone, very many, empty ones, and those without a name."""
    for table in tables:
        labels, sizes = table.labels, table.sizes()
        if len(labels) == 1:
            notes.warn(f"groups '{table.name}': only '{labels[0]}'; one group cannot be treated unfairly")
        if len(labels) > _MANY_GROUPS:
            notes.warn(f"groups '{table.name}': {len(labels):,} groups; keep the N largest with :N or :N+rest")
        for label, size in zip(labels, np.asarray(sizes).tolist(), strict=True):
            if _NO_NAME.fullmatch(label):
                notes.warn(
                    f"groups '{table.name}': '{label}' ({size:,} {table.entity}s) is a group like any other; if it "
                    "stands for no value, leave those cells empty"
                )


def _unit(stamp: int) -> int:
    """Units in a second in which the number is a day from 1980 to 2100; 0 where it is none in any."""
    return next((u for u in _UNITS if 315_532_800 <= stamp / u < 4_102_444_800), 0)


def _day(stamp: int) -> str:
    """A date where the number is plausibly one: in seconds, milliseconds, microseconds or nanoseconds since 1970."""
    for unit in _UNITS:
        if 0 <= stamp / unit < 4_102_444_800:  # the year 2100
            return f"{datetime.fromtimestamp(stamp / unit, UTC):%Y-%m-%d}"
    return str(stamp)
