"""Every source layout carries the same small catalogue and must give the same pairs, titles and genres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from raw_layouts import GENRES, ITEMS, LAYOUTS, RATINGS, TITLES, USERS, lightgcn, movielens_dat, write

from bifair_dist.data.prepare import PrepareOptions, prepare, split_pairs
from bifair_dist.data.raw import RawData, encode_ids
from bifair_dist.data.sources import read_source
from bifair_dist.errors import UserError


def rows_of(raw: RawData) -> set[tuple[str, str]]:
    users, items = raw.user_ids.to_pylist(), raw.item_ids.to_pylist()
    return {(users[u], items[i]) for u, i in zip(raw.pairs.user, raw.pairs.item, strict=True)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_the_same(tmp_path: Path, layout: str) -> None:
    source, make = LAYOUTS[layout]
    make(tmp_path)
    raw = read_source(source, tmp_path)
    assert raw.user_ids.to_pylist() == sorted(USERS) and raw.item_ids.to_pylist() == sorted(ITEMS)
    assert len(raw.pairs) == len(RATINGS) and rows_of(raw) == {(u, i) for u, i, _, _ in RATINGS}
    assert raw.items["item_id"].to_pylist() == sorted(ITEMS)
    titles = dict(zip(raw.items["item_id"].to_pylist(), raw.items["title"].to_pylist(), strict=True))
    assert titles == TITLES
    column = "categories" if source.startswith("amazon") else "genres"
    genres = ["|".join(g) if isinstance(g, list) else g or "" for g in raw.items[column].to_pylist()]
    wanted = GENRES
    if layout == "movielens 100k":  # it has flags, in alphabetic order
        wanted = {item: "|".join(sorted(cell.split("|"))) for item, cell in GENRES.items()}
    assert dict(zip(raw.items["item_id"].to_pylist(), genres, strict=True)) == wanted
    if source.startswith("amazon"):
        held = {"amazon2014": 2, "amazon2018": 1, "amazon2023": 0}[source]
        assert raw.notes.counts.get("titles with HTML", 0) == held
        assert any("held HTML tags or entities" in line for line in raw.notes.said) == bool(held)
    if source == "lightgcn":
        assert raw.pairs.rating is None and raw.pairs.timestamp is None
        return
    scale = 1000 if source == "amazon2023" else 1
    assert raw.pairs.rating is not None and raw.pairs.timestamp is not None
    users, items = raw.user_ids.to_pylist(), raw.item_ids.to_pylist()
    columns = (raw.pairs.user, raw.pairs.item, raw.pairs.rating, raw.pairs.timestamp)
    assert {(users[u], items[i], int(r), int(t)) for u, i, r, t in zip(*columns, strict=True)} == {
        (u, i, r, t * scale) for u, i, r, t in RATINGS
    }


@pytest.mark.parametrize("layout", ["movielens ::", "movielens 100k", "recbole", "generic csv"])
def test_user_columns_are_kept(tmp_path: Path, layout: str) -> None:
    source, make = LAYOUTS[layout]
    make(tmp_path)
    users = read_source(source, tmp_path).users
    assert users is not None
    gender = dict(zip(users["user_id"].to_pylist(), users["gender"].to_pylist(), strict=True))
    assert gender == {u: "MF"[a % 2] for a, u in enumerate(USERS)}


def test_movielens_dat_may_be_utf8(tmp_path: Path) -> None:
    movielens_dat(tmp_path)
    write(tmp_path / "movies.dat", "".join(f"{i}::{TITLES[i]}::{GENRES[i]}\n" for i in ITEMS))
    assert "Amélie" in read_source("movielens", tmp_path).items["title"].to_pylist()


def test_amazon_2018_columns(tmp_path: Path) -> None:
    LAYOUTS["amazon 2018"][1](tmp_path)
    items = read_source("amazon2018", tmp_path).items.to_pylist()
    by_id = {row["item_id"]: row for row in items}
    assert by_id["1"]["main_category"] == "Books" and by_id["1"]["brand"] == "brand 1"
    assert by_id["1"]["description"] == "one two" and by_id["2"]["description"] == "bare"  # a list, and a bare string
    assert by_id["10"]["main_category"] is None and by_id["10"]["categories"] is None


def test_lightgcn_given_split_keeps_test_and_carves_valid(tmp_path: Path) -> None:
    lightgcn(tmp_path)
    raw = read_source("lightgcn", tmp_path)
    part = split_pairs(raw.pairs, "given", 0)
    assert raw.pairs.part is not None
    assert ((part == 2) == (raw.pairs.part == 2)).all() and (part == 2).sum() == len(USERS)
    write(tmp_path / "valid.txt", "1 20\n")  # with a valid.txt nothing is held out
    raw = read_source("lightgcn", tmp_path)
    part = split_pairs(raw.pairs, "given", 0)
    assert (part == 1).sum() == 1


def test_lightgcn_titles_through_item_list_or_lines(tmp_path: Path) -> None:
    lightgcn(tmp_path)
    (tmp_path / "items.csv").unlink()
    with pytest.raises(UserError, match="no titles found"):
        read_source("lightgcn", tmp_path)
    write(tmp_path / "titles.txt", "".join(f"Title {n}\n" for n in range(21)))
    assert read_source("lightgcn", tmp_path).items["title"].to_pylist() == [f"Title {i}" for i in sorted(ITEMS)]
    write(tmp_path / "item_list.txt", "org_id remap_id\n" + "".join(f"B{i} {i}\n" for i in ITEMS))
    write(tmp_path / "items.csv", "org_id,title\nB000,unknown\n" + "".join(f"B{i},{TITLES[i]!r}\n" for i in ["2", "3"]))
    items = read_source("lightgcn", tmp_path).items
    assert dict(zip(items["item_id"].to_pylist(), items["org_id"].to_pylist(), strict=True))["2"] == "B2"


def test_alpharec_folder_and_given_split_written(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    lightgcn(folder)
    for name in ("train", "test"):
        (folder / "cf_data").mkdir(exist_ok=True)
        (folder / f"{name}.txt").rename(folder / "cf_data" / f"{name}.txt")
    write(folder / "cf_data" / "test.txt", "1 20\n99 1 2\n")  # user 99 has no train pair: cannot be represented
    manifest = prepare("lightgcn", folder, tmp_path / "out", PrepareOptions(k_core=1, split="given"))
    assert manifest["dropped"]["split"] == {"pairs": 2, "users": 1, "items": 0}
    assert manifest["counts"]["test"] == 1


def test_ids_are_coded_in_plain_string_order() -> None:
    ids, codes = encode_ids(pa.chunked_array([["b", "10"], ["9", "b", "é"]]))
    assert ids.to_pylist() == ["10", "9", "b", "é"] and codes.tolist() == [2, 0, 1, 2, 3]
    ids, codes = encode_ids(pa.chunked_array([np.array([2, 10]), np.array([9])]))
    assert ids.to_pylist() == ["10", "2", "9"] and codes.tolist() == [1, 0, 2]
    dictionary = pa.chunked_array([pa.array(["x", "y"]).dictionary_encode(), pa.array(["y", "a"]).dictionary_encode()])
    ids, codes = encode_ids(dictionary)
    assert ids.to_pylist() == ["a", "x", "y"] and codes.tolist() == [1, 2, 2, 0]


def test_generic_takes_gz_and_repeated_item_rows(generic: Path, tmp_path: Path) -> None:
    text = (generic / "interactions.csv").read_text()
    (generic / "interactions.csv").unlink()
    write(generic / "interactions.csv.gz", text)
    with (generic / "items.csv").open("a") as stream:
        stream.write("2,Another title,Drama,\n")
    write(generic / "items.csv", (generic / "items.csv").read_text().replace('"Heat"', '"  Heat "'))
    raw = read_source("generic", generic)
    assert "Heat" in raw.items["title"].to_pylist()  # blanks around a title are taken off
    assert raw.notes.counts == {"repeated item rows": 1} and "Another title" not in raw.items["title"].to_pylist()
