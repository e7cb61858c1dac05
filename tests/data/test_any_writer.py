"""Any table that pandas, polars, pyarrow, csv or json writes comes back the same, or is refused in one line."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bifair_dist.data.raw import RawData
from bifair_dist.data.reading import Notes
from bifair_dist.data.reading.lists import split_values
from bifair_dist.data.sources import read_source
from bifair_dist.errors import UserError

MISSING = {"", "nan", "none", "null", "<na>", "nat"}


@dataclass
class Data:
    """Pairs (user, item, rating) and items (id, title, genres)."""

    pairs: list[tuple[Any, Any, float]]
    items: list[tuple[Any, str | None, list[str]]]

    def rows(self, lists: bool) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Columns of the two tables; genres as lists or as `a|b`."""
        user, item, rating = zip(*self.pairs, strict=True)
        ids, titles, genres = zip(*self.items, strict=True)
        cells = list(genres) if lists else ["|".join(g) for g in genres]
        return (
            {"user_id": list(user), "item_id": list(item), "rating": list(rating)},
            {"item_id": list(ids), "title": list(titles), "genres": cells},
        )


WORD = st.text(st.sampled_from("abcXYZ019.é世😀_-&/'\"\\,;:#% \t"), min_size=1, max_size=8)
ID = st.integers(-5, 10**12) | WORD | st.text(min_size=1, max_size=5)
TITLE = (
    st.none()
    | WORD
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(
        [
            '12" single',
            '"Heroes"',
            'say ""x""',
            "two\nlines",
            "a,b;c\td|e",
            "\\",
            'end\\"',
            "'quoted'",
            "=1+1",
            " x ",
            "NaN",
        ]
    )
)
GENRE = st.text(st.sampled_from("abcdeé&- "), min_size=1, max_size=6).filter(lambda g: g.strip().lower() not in MISSING)


@st.composite
def data(draw: st.DrawFn) -> Data:
    kind = draw(st.sampled_from([st.integers(-5, 10**12), ID.map(str)]))
    ids = draw(st.lists(kind, min_size=2, max_size=5, unique=True))
    users = draw(st.lists(kind, min_size=1, max_size=4, unique=True))
    items = [(i, draw(TITLE), draw(st.lists(GENRE, max_size=3, unique=True))) for i in ids]
    rating = st.sampled_from([1.0, 2.0, 3.5, 4.0, 5.0])
    pairs = [(u, i, draw(rating)) for u in users for i in ids]
    return Data(pairs, items)


def plain(value: str | None) -> str | None:
    """A cell as it may come back: without blanks around it, null for what stands for nothing."""
    text = (value or "").strip()
    return None if text.lower() in MISSING or text == "NA" else text


def same(raw: RawData, wanted: Data) -> None:
    users, items = raw.user_ids.to_pylist(), raw.item_ids.to_pylist()
    assert raw.pairs.rating is not None
    got = {
        (users[u], items[i], float(r)) for u, i, r in zip(raw.pairs.user, raw.pairs.item, raw.pairs.rating, strict=True)
    }
    assert got == {(str(u).strip(), str(i).strip(), r) for u, i, r in wanted.pairs}
    titles = dict(zip(raw.items["item_id"].to_pylist(), raw.items["title"].to_pylist(), strict=True))
    assert titles == {str(i).strip(): plain(title) for i, title, _ in wanted.items}
    row, value = split_values(raw.items["genres"], "genres", Notes())
    genres: dict[str, set[str]] = {item: set() for item in items}
    for r, v in zip(row, value.to_pylist(), strict=True):
        genres[items[r]].add(v)
    assert genres == {str(i).strip(): {g.strip() for g in cell} for i, _, cell in wanted.items}


Write = Callable[[Path, dict[str, list[Any]], st.DataObject], None]


def pick(source: st.DataObject, *options: Any) -> Any:
    return source.draw(st.sampled_from(options))


def by_csv(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    quotes: dict[str, Any] = pick(draw, {}, {"quoting": csv.QUOTE_ALL}, {"quoting": csv.QUOTE_NONNUMERIC},
                                  {"doublequote": False, "escapechar": "\\"}, {"quotechar": "'"},
                                  {"quoting": csv.QUOTE_NONE, "escapechar": "\\"})  # fmt: skip
    if "escapechar" in quotes and any("\\" in str(cell) for column in columns.values() for cell in column):
        raise ValueError("whether a backslash was written once or twice cannot be seen in the file")
    cells = [str(cell) for column in columns.values() for cell in column]
    if "quotechar" in quotes and any(cell.startswith('"') or '\\"' in cell for cell in cells):
        raise ValueError("whether double quotes are quotes, escaped ones or text cannot be seen in the file")
    encoding = pick(draw, "utf-8", "utf-8-sig", "utf-16", "cp1252")
    with stem.with_suffix(".csv").open("w", newline="", encoding=encoding) as stream:
        writer = csv.writer(
            stream, delimiter=pick(draw, ",", ";", "\t", "|"), lineterminator=pick(draw, "\n", "\r\n"), **quotes
        )
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def by_pandas_csv(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    pd.DataFrame(columns).to_csv(
        stem.with_suffix(pick(draw, ".csv", ".csv.gz")),
        index=pick(draw, False, True),
        sep=pick(draw, ",", ";", "\t"),
        quoting=pick(draw, csv.QUOTE_MINIMAL, csv.QUOTE_ALL),
        encoding=pick(draw, "utf-8", "utf-8-sig"),
        na_rep=pick(draw, "", "nan", "NULL"),
        lineterminator=pick(draw, "\n", "\r\n"),
    )


def by_pandas_parquet(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    frame = pd.DataFrame(columns)
    kind = pick(draw, "object", "string", "category")
    frame = frame.astype({c: kind for c in frame if all(isinstance(value, str) for value in frame[c])})
    frame.to_parquet(stem.with_suffix(".parquet"), index=pick(draw, None, True))


def by_pandas_json(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    pd.DataFrame(columns).to_json(
        stem.with_suffix(".jsonl"), orient="records", lines=True, force_ascii=pick(draw, True, False)
    )


def by_polars_csv(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    style = pick(draw, "necessary", "always", "non_numeric", "never")
    if style == "never" and any({'"', "\\"} & set(str(value)) for column in columns.values() for value in column):
        raise ValueError(
            "whether a quote is text or stands around one, and what is escaped, cannot be seen in the file"
        )
    pl.DataFrame(columns).write_csv(
        stem.with_suffix(".csv"),
        include_bom=pick(draw, False, True),
        separator=pick(draw, ",", ";", "\t"),
        quote_style=style,
        null_value=pick(draw, "", "null"),
        line_terminator=pick(draw, "\n", "\r\n"),
    )


def by_polars(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    frame = pl.DataFrame(columns)
    if pick(draw, False, True):
        frame = frame.with_columns(pl.col(pl.String).cast(pl.Categorical))
    form = pick(draw, "parquet", "arrow", "jsonl")
    path = stem.with_suffix(f".{form}")
    frame.write_parquet(path) if form == "parquet" else frame.write_ipc(
        path
    ) if form == "arrow" else frame.write_ndjson(path)


def by_pyarrow(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    table = pa.table(columns)
    form = pick(draw, "csv", "parquet", "feather", "parts")
    if form == "csv":
        delimiter, style = pick(draw, ",", ";", "\t"), pick(draw, "needed", "all_valid")
        pacsv.write_csv(table, stem.with_suffix(".csv"), pacsv.WriteOptions(delimiter=delimiter, quoting_style=style))
        return
    text = pick(draw, pa.string(), pa.large_string(), pa.string_view(), pa.binary())
    kinds = {
        pa.string(): text,
        pa.list_(pa.string()): pick(draw, pa.list_(pa.string()), pa.large_list(pa.large_string())),
    }
    table = table.cast(pa.schema([(field.name, kinds.get(field.type, field.type)) for field in table.schema]))
    if form == "feather":
        feather.write_feather(table, stem.with_suffix(".feather"))
    elif form == "parts":
        folder = stem.with_suffix(".parquet")
        folder.mkdir()
        (folder / "_SUCCESS").touch()
        for n, part in enumerate((table.slice(0, 1), table.slice(1))):
            pq.write_table(part, folder / f"part-{n}.parquet")
    else:
        pq.write_table(table, stem.with_suffix(".parquet"), use_dictionary=pick(draw, True, False))


def by_json(stem: Path, columns: dict[str, list[Any]], draw: st.DataObject) -> None:
    ascii_only = pick(draw, True, False)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    lines = (json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    stem.with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


# Of every writer: whether it can write lists.
WRITERS: dict[str, tuple[Write, bool]] = {
    "csv": (by_csv, False),
    "pandas csv": (by_pandas_csv, False),
    "pandas parquet": (by_pandas_parquet, True),
    "pandas json": (by_pandas_json, True),
    "polars csv": (by_polars_csv, False),
    "polars": (by_polars, True),
    "pyarrow": (by_pyarrow, True),
    "json": (by_json, True),
}


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(wanted=data(), draw=st.data())
def test_it_comes_back_the_same_or_is_refused(writer: str, wanted: Data, draw: st.DataObject) -> None:
    write, may_be_lists = WRITERS[writer]
    pairs, items = wanted.rows(lists=may_be_lists and draw.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem, columns in (("interactions", pairs), ("items", items)):
            try:
                write(folder / stem, columns, draw)
            except (csv.Error, UnicodeEncodeError, ValueError, pa.ArrowException, pl.exceptions.PolarsError):
                return  # what the writer itself cannot write
        try:
            raw = read_source("generic", folder)
        except UserError as error:
            assert len(str(error).splitlines()) == 1 and str(folder) in str(error)
            return
        same(raw, wanted)
