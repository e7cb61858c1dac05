"""GroupLens MovieLens: ``ratings.csv``, ``movies.csv``; or the older ``ratings.dat``, ``movies.dat``[, ``users.dat``].

The older files are separated by ``::``, have no header and are Latin-1 (1M) or UTF-8 (10M); nothing in them is quoted.
Timestamps are seconds since 1970. Columns as in the README files of the releases (Harper & Konstan 2015).
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.raw import RawData
from bifair_dist.data.sources.assemble import assemble
from bifair_dist.data.sources.delimited import Layout, read_delimited
from bifair_dist.errors import UserError

NO_GENRE = "(no genres listed)"


def read_movielens(path: Path) -> RawData:
    """Read a MovieLens folder. Items: title, genres (split by ``|``); users (1M only): gender, age, occupation, zip."""
    if (path / "ratings.csv").is_file():
        ratings, movies, layouts = path / "ratings.csv", path / "movies.csv", _CSV
    elif (path / "ratings.dat").is_file():
        ratings, movies, layouts = path / "ratings.dat", path / "movies.dat", _DAT
    else:
        raise UserError(f"{path}: neither ratings.csv nor ratings.dat found; give the folder of a MovieLens release")
    ids = ["userId", "movieId"]
    pairs = read_delimited(ratings, layouts[0], text=ids, numbers=["rating", "timestamp"], filled=ids)
    items = read_delimited(movies, layouts[1], text=["movieId", "title", "genres"], filled=["movieId"])
    genres = items["genres"]
    genres = pc.if_else(pc.equal(genres, NO_GENRE), pa.scalar(None, pa.string()), genres)
    users_path = path / "users.dat"
    users = read_delimited(users_path, _USERS, filled=["user_id"]) if users_path.is_file() else None
    return assemble(
        pairs.rename_columns(["user_id", "item_id", "rating", "timestamp"]),
        pa.table({"item_id": items["movieId"], "title": items["title"], "genres": genres}),
        users,
        files=[ratings, movies, *([users_path] if users is not None else [])],
        items_path=movies,
    )


def _dat(*names: str) -> Layout:
    return Layout(delimiter="::", quoted=False, names=names)


_CSV = (Layout(), Layout())
_DAT = (_dat("userId", "movieId", "rating", "timestamp"), _dat("movieId", "title", "genres"))
_USERS = _dat("user_id", "gender", "age", "occupation", "zip")
