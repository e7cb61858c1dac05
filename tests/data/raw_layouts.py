"""A small catalogue that every source layout can carry: 6 users x 5 items, ratings, timestamps, genres."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
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
    "amazon 2018": ("amazon2018", amazon2018),
    "amazon 2023": ("amazon2023", amazon2023),
    "lightgcn": ("lightgcn", lightgcn),
    "recbole": ("recbole", recbole),
    "generic csv": ("generic", generic_csv),
    "generic parquet": ("generic", generic_parquet),
}
