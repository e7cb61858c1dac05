"""GroupLens MovieLens and what shares its layout.

- 20M to 32M, latest: ``ratings.csv``, ``movies.csv``; also ``rating.csv``, ``movie.csv`` with dates for timestamps;
- 1M, 10M, MovieTweetings: ``ratings.dat``, ``movies.dat``[, ``users.dat``], separated by ``::``;
- 100K: ``u.data``, ``u.item``[, ``u.user``][, ``u.genre``].

The older files have no header and are Latin-1 or UTF-8; nothing in them is quoted. Timestamps are seconds since 1970.
Columns as in the README files of the releases (Harper & Konstan 2015).
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Columns, Layout, Notes, first_line, read_table
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.registry import source
from bifair_dist.errors import UserError

_CALLED = {"user_id": "userId", "item_id": "movieId"}
_PAIRS = Columns(keys=("user_id", "item_id"), numbers=("rating", "timestamp"), called=_CALLED)
_MOVIES = Columns(keys=("item_id",), text=("title", "genres"), called=_CALLED)
_USERS = Columns(keys=("user_id",), rest=True)
_RATING_NAMES = ("userId", "movieId", "rating", "timestamp")
_MOVIE_NAMES = ("movieId", "title", "genres")
_USER_NAMES: dict[str, dict[int, tuple[str, ...]]] = {  # by release
    "users.dat": {5: ("user_id", "gender", "age", "occupation", "zip"), 2: ("user_id", "twitter_id")},
    "u.user": {5: ("user_id", "age", "gender", "occupation", "zip")},
}
_GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_RELEASES = (
    ("ratings.csv", "movies.csv"),
    ("rating.csv", "movie.csv"),
    ("ratings.dat", "movies.dat"),
    ("u.data", "u.item"),
)


@source("movielens", *_RELEASES)
def read_movielens(path: Path, notes: Notes) -> RawData:
    """A MovieLens folder of any release (100K to 32M), or MovieTweetings. Items: title, genres (split by ``|``)."""
    release = next((names for names in _RELEASES if (path / names[0]).is_file()), None)
    if release is None:
        raise UserError(f"{path}: no ratings.csv, ratings.dat or u.data found; give the folder of a MovieLens release")
    ratings, movies = (path / name for name in release)
    delimiters = {".csv": ",", ".dat": "::", ".data": "\t"}
    csv = ratings.suffix == ".csv"
    delimiter = delimiters[ratings.suffix]
    pairs = read_table(ratings, _PAIRS, notes, Layout(delimiter, csv, None if csv else _RATING_NAMES))
    if ratings.name == "u.data":
        items = _items_100k(movies, notes)
    else:
        items = read_table(movies, _MOVIES, notes, Layout(delimiter, csv, None if csv else _MOVIE_NAMES))
        items = items.set_column(
            2, "genres", pc.if_else(pc.equal(items["genres"], "(no genres listed)"), None, items["genres"])
        )
    users_path = next((path / name for name in _USER_NAMES if (path / name).is_file()), None)
    users = _users(users_path, notes) if users_path else None
    files = [ratings, movies, *([users_path] if users_path else [])]
    return assemble(pairs, items, users, notes=notes, files=files, items_path=movies)


def _users(path: Path, notes: Notes) -> pa.Table | None:
    delimiter = "::" if path.suffix == ".dat" else "|"
    names = _USER_NAMES[path.name].get(_width(path, delimiter))
    if names is None:
        notes.warn(f"{path.name}: not the columns of a MovieLens release; left out")
        return None
    return read_table(path, _USERS, notes, Layout(delimiter, quoted=False, names=names))


def _items_100k(path: Path, notes: Notes) -> pa.Table:
    """Five columns and a flag for each genre; ``u.genre`` lists the genres as ``name|number``."""
    listed = path.with_name("u.genre")
    genres = _GENRES_100K
    if listed.is_file():
        genres = [line.split("|")[0] for line in listed.read_text("latin-1").splitlines() if line.strip()]
    flags = [f"genre {n}" for n in range(_width(path, "|") - 5)]
    names = ("item_id", "title", "release_date", "video_release_date", "imdb_url", *flags)
    table = read_table(path, Columns(["item_id"], ["title"], rest=True), notes, Layout("|", quoted=False, names=names))
    if len(flags) != len(genres):
        notes.warn(f"{path.name}: {len(flags)} genre flags where {len(genres)} genres are known; read without genres")
        return table.drop_columns(flags)
    empty = pa.scalar(None, pa.string())
    cells = [pc.if_else(pc.equal(table[flag], "1"), f"{name}|", "") for flag, name in zip(flags, genres, strict=True)]
    joined = pc.utf8_rtrim(pc.binary_join_element_wise(*cells, ""), "|")
    return table.drop_columns(flags).append_column("genres", pc.if_else(pc.equal(joined, ""), empty, joined))


def _width(path: Path, delimiter: str) -> int:
    return first_line(path).count(delimiter) + 1
