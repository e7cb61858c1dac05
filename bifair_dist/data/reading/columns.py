"""Which columns of a file are wanted, and finding them under the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bifair_dist.data.reading.notes import Notes
from bifair_dist.errors import UserError, known_names, nearest

_NEAR = 0.85  # likeness (difflib) from which an optional column is taken for misspelt rather than for another one
_SYNONYMS = {
    "rating": ("stars", "score", "overall", "rate", "preference"),
    "timestamp": ("time", "date", "datetime", "ts", "unixtime", "unixreviewtime", "createdat"),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """A table as a source wants it.

    ``keys``: ids, in every row; ``text``: must exist, cells may be empty; ``numbers``: optional, a finite number or a
    date in every row; ``rest``: keep the other columns. ``called`` maps a name to that in the file where it differs.
    """

    keys: Sequence[str]
    text: Sequence[str] = ()
    numbers: Sequence[str] = ()
    rest: bool = False
    called: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> list[str]:
        """Columns without which there is nothing to read."""
        return [*self.keys, *self.text]


def choose(path: Path, have: Sequence[str], wanted: Columns, notes: Notes) -> dict[str, int]:
    """Position in the file of every column to read, by the name it will have.

    A name that differs only in case, blanks, ``_`` or ``-`` is taken, and reported. Raises ``UserError`` for a needed
    column that is missing, an optional one that looks misspelt, and a name that occurs twice.
    """
    names = [name.strip() for name in have]
    chosen: dict[str, int] = {}
    for name in (*wanted.needed, *wanted.numbers):
        place = _find(path, names, wanted.called.get(name, name), notes, needed=name in wanted.needed)
        if place is not None:
            chosen[name] = place
    others = [n for n, name in enumerate(names) if n not in chosen.values() and not _is_index(name)]
    if wanted.rest:
        for n in others:
            if names[n] in chosen:
                raise UserError(f"{path}: column '{names[n]}' occurs twice; rename or remove one of them")
            chosen[names[n]] = n
    elif others:
        notes.say(f"{path.name}: not read: {', '.join(names[n] for n in others)}")
    return chosen


def count_wanted(have: Sequence[str], wanted: Columns) -> int:
    """How many of the wanted columns these names could be."""
    folded = {_folded(name) for name in have}
    return sum(_folded(wanted.called.get(name, name)) in folded for name in (*wanted.needed, *wanted.numbers))


def _find(path: Path, names: Sequence[str], name: str, notes: Notes, *, needed: bool) -> int | None:
    exact = [n for n, other in enumerate(names) if other == name]
    if len(exact) > 1:
        raise UserError(f"{path}: column '{name}' occurs twice; rename or remove one of them")
    if exact:
        return exact[0]
    alike = [n for n, other in enumerate(names) if _folded(other) == _folded(name)]
    if len(alike) > 1:
        both = " and ".join(f"'{names[n]}'" for n in alike)
        raise UserError(f"{path}: columns {both} could each be '{name}'; rename the one that is meant")
    if alike:
        notes.say(f"{path.name}: column '{names[alike[0]]}' is read as {name}")
        return alike[0]
    if needed:
        data = all(not re.search(r"[A-Za-z]", other) for other in names)
        hint = "; the first line must hold the column names" if data else ""
        raise UserError(f"{path}: column '{name}' is missing{hint}; {known_names(name, names)}")
    if near := nearest(_folded(name), [_folded(other) for other in names], _NEAR):
        there = next(other for other in names if _folded(other) == near)
        raise UserError(f"{path}: column '{there}' looks like '{name}'; name it so, or less like it if it is not meant")
    for other in names:
        if _folded(other) in _SYNONYMS.get(name, ()):
            notes.warn(f"{path.name}: there is no column '{name}'; if '{other}' is meant, name it '{name}'")
    return None


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _is_index(name: str) -> bool:
    """Columns that pandas writes for its row numbers."""
    return name in ("", "Unnamed: 0") or name.startswith("__index_level_")
