"""A small catalogue that every source layout can carry: 6 users x 5 items, ratings, timestamps, genres."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

USERS = ("1", "2", "3", "10", "20", "30")
ITEMS = ("1", "2", "3", "10", "20")
TITLES = {"1": 'Café, the "Movie" (1995)', "2": "Jumanji", "3": "Heat", "10": "Se7en: Part 1", "20": "Amélie"}
GENRES = {"1": "Drama|Comedy", "2": "Comedy", "3": "Crime|Drama", "10": "", "20": "Romance"}
# (user, item, rating, timestamp): every user rates every item but one; ratings 1..5.
RATINGS = [
    (u, i, 1 + (3 * a + 2 * b) % 5, 1000 + 37 * b + a)
    for a, u in enumerate(USERS)
    for b, i in enumerate(ITEMS)
    if (a + b) % 5
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write text, gzipped where the name ends in .gz; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def quote(text: str) -> str:
    """One CSV cell."""
    return '"' + text.replace('"', '""') + '"'


def json_lines(rows: list[dict[str, Any]]) -> str:
    """One JSON object per line."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def movielens_csv(folder: Path) -> None:
    write(
        folder / "ratings.csv",
        "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r}.0,{t}\n" for u, i, r, t in RATINGS),
    )
    rows = "".join(f"{i},{quote(TITLES[i])},{GENRES[i] or '(no genres listed)'}\n" for i in ITEMS)
    write(folder / "movies.csv", "movieId,title,genres\n" + rows)


def movielens_dat(folder: Path) -> None:
    write(folder / "ratings.dat", "".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS))
    rows = "".join(f"{i}::{TITLES[i]}::{GENRES[i] or '(no genres listed)'}\n" for i in ITEMS)
    write(folder / "movies.dat", rows, "latin-1")
    write(folder / "users.dat", "".join(f"{u}::{'MF'[a % 2]}::25::{a}::12345\n" for a, u in enumerate(USERS)))


def movielens_kaggle(folder: Path) -> None:
    """The 20M release as on Kaggle: names in the singular, dates for timestamps, all cells quoted; tags beside it."""
    day = datetime(1970, 1, 1, tzinfo=UTC)
    rows = "".join(f'"{u}","{i}","{r}.0","{day + timedelta(seconds=t):%Y-%m-%d %H:%M:%S}"\n' for u, i, r, t in RATINGS)
    write(folder / "rating.csv", '"userId","movieId","rating","timestamp"\n' + rows)
    rows = "".join(f"{i},{quote(TITLES[i])},{quote(GENRES[i] or '(no genres listed)')}\n" for i in ITEMS)
    write(folder / "movie.csv", '"movieId","title","genres"\n' + rows)
    write(folder / "tag.csv", '"userId","movieId","tag","timestamp"\n"1","2","dark","2009-04-24 18:19:40"\n')


def movielens_100k(folder: Path) -> None:
    """Tabs, bars, Latin-1, and 19 flags for the genres; `ua.base` and its like are splits of the same pairs."""
    write(folder / "u.data", "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS))
    write(folder / "ua.base", "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS[:9]))
    names = [
        *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
        *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
    ]
    write(folder / "u.genre", "".join(f"{name}|{n}\n" for n, name in enumerate(names)) + "\n")
    flags = {i: "|".join(str(int(name in GENRES[i].split("|"))) for name in names) for i in ITEMS}
    rows = "".join(f"{i}|{TITLES[i]}|01-Jan-1995||http://us.imdb.com/M/title-exact?{i}|{flags[i]}\n" for i in ITEMS)
    write(folder / "u.item", rows, "latin-1")
    write(folder / "u.user", "".join(f"{u}|24|{'MF'[a % 2]}|technician|85711\n" for a, u in enumerate(USERS)))


def movietweetings(folder: Path) -> None:
    movielens_dat(folder)
    write(folder / "movies.dat", "".join(f"{i}::{TITLES[i]}::{GENRES[i]}\n" for i in ITEMS))
    write(folder / "users.dat", "".join(f"{u}::{10_000 + a}\n" for a, u in enumerate(USERS)))


def amazon2014(folder: Path) -> None:
    """Metadata that are Python literals, with several category paths and titles with what HTML makes of them."""
    reviews = [{"reviewerID": u, "asin": i, "overall": r * 1.0, "unixReviewTime": t} for u, i, r, t in RATINGS]
    write(folder / "reviews_Books_5.json.gz", json_lines(reviews))
    meta = [
        {
            "asin": i,
            "title": TITLES[i].replace('"', "&quot;") + (" <br />" if i == "2" else ""),
            "brand": "it's",
            "categories": [["Books", *GENRES[i].split("|")]] if GENRES[i] else [["Books"]],
            "related": {"also_bought": ["B1"]},
        }
        for i in ITEMS
    ]
    write(folder / "meta_Books.json.gz", "".join(f"{row!r}\n" for row in meta))


def amazon2018(folder: Path) -> None:
    traps = {"reviewText": 'say "asin": 3', "style": {"asin": 1}}
    reviews = [{"overall": r * 1.0, "reviewerID": u, "asin": i, "unixReviewTime": t, **traps} for u, i, r, t in RATINGS]
    write(folder / "Books_5.json.gz", json_lines(reviews))
    meta: list[dict[str, Any]] = [
        {
            "asin": i,
            "title": TITLES[i].replace('"', "&quot;"),
            "brand": f"brand {i}",
            "category": ["Books", *GENRES[i].split("|")] if GENRES[i] else [],
            "description": "bare" if i == "2" else ["one", "two"],  # both occur
            "feature": [],
            "rank": i if i == "1" else [i],
        }
        for i in ITEMS
    ]
    meta.append({"asin": "nobody reviewed it", "title": "x"})
    write(folder / "meta_Books.json.gz", json_lines(meta))


def amazon2023(folder: Path) -> None:
    extra = {"title": "of the review", "asin": "variant", "images": []}
    reviews = [{"rating": r, "parent_asin": i, "user_id": u, "timestamp": t * 1000, **extra} for u, i, r, t in RATINGS]
    write(folder / "Books.jsonl", json_lines(reviews))
    meta = [
        {
            "parent_asin": i,
            "title": TITLES[i],
            "store": f"store {i}",
            "categories": ["Books", *GENRES[i].split("|")] if GENRES[i] else [],
            "features": ["f"],
            "description": [],
            "price": None,
        }
        for i in ITEMS
    ]
    write(folder / "meta_Books.jsonl", json_lines(meta))


def lightgcn(folder: Path) -> None:
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for u in USERS:
        mine = [i for user, i, _, _ in RATINGS if user == u]
        lines["train"].append(" ".join([u, *mine[:-1]]))
        lines["test"].append(" ".join([u, *mine[-1:]]) + " ")
    for name, rows in lines.items():
        write(folder / f"{name}.txt", "\n".join(rows) + "\n")
    write(
        folder / "items.csv", "item_id,title,genres\n" + "".join(f"{i},{quote(TITLES[i])},{GENRES[i]}\n" for i in ITEMS)
    )


def recbole(folder: Path) -> None:
    rows = "".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS)
    write(folder / "ml.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows)
    items = "".join(f"{i}\t{TITLES[i]}\t{GENRES[i].replace('|', ' ')}\n" for i in ITEMS)
    write(folder / "ml.item", "item_id:token\tmovie_title:token_seq\tgenres:token_seq\n" + items)
    write(
        folder / "ml.user",
        "user_id:token\tgender:token\n" + "".join(f"{u}\t{'MF'[a % 2]}\n" for a, u in enumerate(USERS)),
    )


def generic_csv(folder: Path) -> None:
    rows = "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in RATINGS)
    write(folder / "interactions.csv", "user_id,item_id,rating,timestamp\n" + rows)
    items = "".join(f'{i},{quote(TITLES[i])},{GENRES[i]},"two\nlines"\n' for i in ITEMS)
    write(folder / "items.csv", "item_id,title,genres,description\n" + items)
    write(folder / "users.csv", "user_id,gender\n" + "".join(f"{u},{'MF'[a % 2]}\n" for a, u in enumerate(USERS)))


def generic_parquet(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    user, item, rating, stamp = zip(*RATINGS, strict=True)
    pairs = {"user_id": list(map(int, user)), "item_id": list(item), "rating": rating, "timestamp": stamp}
    pq.write_table(pa.table(pairs), folder / "interactions.parquet")
    genres = [GENRES[i].split("|") if GENRES[i] else [] for i in ITEMS]
    items = {"item_id": list(map(int, ITEMS)), "title": [TITLES[i] for i in ITEMS], "genres": genres}
    pq.write_table(pa.table(items), folder / "items.parquet")


LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "movielens csv": ("movielens", movielens_csv),
    "movielens ::": ("movielens", movielens_dat),
    "movielens kaggle": ("movielens", movielens_kaggle),
    "movielens 100k": ("movielens", movielens_100k),
    "movietweetings": ("movielens", movietweetings),
    "amazon 2014": ("amazon2014", amazon2014),
    "amazon 2018": ("amazon2018", amazon2018),
    "amazon 2023": ("amazon2023", amazon2023),
    "lightgcn": ("lightgcn", lightgcn),
    "recbole": ("recbole", recbole),
    "generic csv": ("generic", generic_csv),
    "generic parquet": ("generic", generic_parquet),
}
