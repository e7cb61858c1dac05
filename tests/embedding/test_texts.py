"""Templates: what an empty cell takes with it, what full cells give, errors."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifair_dist.embedding.texts import BLOCK, Template, check_template
from bifair_dist.errors import UserError

BOOK = "{title} by {authors}. {description}"


def fill(template: str, **cells: object) -> str:
    (text,) = Template.parse(template).fill(pa.table({name: [cell] for name, cell in cells.items()}))
    return text


@pytest.mark.parametrize(
    ("template", "cells", "text"),
    [
        (BOOK, ("Toy Story", "J. Lasseter", "A film."), "Toy Story by J. Lasseter. A film."),
        (BOOK, ("Toy Story", "", "A film."), "Toy Story. A film."),
        (BOOK, ("Toy Story", "  ", None), "Toy Story"),
        (BOOK, ("Toy Story", "J. Lasseter", None), "Toy Story by J. Lasseter"),
        (BOOK, (None, "J. Lasseter", "A film."), "by J. Lasseter. A film."),
        (BOOK, (None, None, "A film."), "A film."),
        ("{a} ({b}): {c}", ("T", "1995", "x"), "T (1995): x"),
        ("{a} ({b}): {c}", ("T", None, "x"), "T: x"),
        ("{a} ({b}): {c}", ("T", "1995", None), "T (1995)"),
        ("{a} ({b}): {c}", (None, "1995", "x"), "(1995): x"),
        ("Title: {a}. Year: {b}. Genres: {c}", ("T", None, "x"), "Title: T. Genres: x"),
        ("Title: {a}. Year: {b}. Genres: {c}", (None, "1", "x"), "Year: 1. Genres: x"),
        ("{a}, {b} pages. {c}", ("T", None, "x"), "T. x"),
        ("{a}, {b} pages. {c}", ("T", "300", None), "T, 300 pages"),
        ("{a}\n{b}\n{c}.", ("T", None, "x"), "T\nx."),
        ("{a}\n{b}\n{c}.", ("T", "y", ""), "T\ny"),
        ('{a} "{b}" [{c}]', ("T", None, "x"), "T [x]"),
        ("{a} [({b})] {c}", ("T", None, "x"), "T x"),
        ("{a} | {b} | {c}", (None, None, "x"), "x"),
        ("{a}{b}{c}", ("T", None, "x"), "Tx"),
        ("{{{a}}} {b}x{c}", ("T", "1", "2"), "{T} 1x2"),
        ("{{{a}}} {b}x{c}", (None, "1", None), "1"),
    ],
)
def test_empty_cells_take_what_belongs_to_them(template: str, cells: tuple[object, ...], text: str) -> None:
    assert fill(template, **dict(zip(Template.parse(template).columns, cells, strict=True))) == text


LITERAL = st.text(st.sampled_from(list("ab,.;:!|()[]'\"- \n")), max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(LITERAL, min_size=4, max_size=4))
def test_full_cells_give_the_template_filled(literals: list[str]) -> None:
    template = "{}".join(literals).format("{x}", "{y}", "{z}")
    cells = {"x": "one", "y": "two", "z": "three"}
    assert fill(template, **cells) == template.format(**cells)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([" ", ". ", ", ", " by ", " (", "): ", " pages. ", "; Year: ", "\n"]), min_size=2))
def test_nothing_is_left_double_or_hanging(literals: list[str]) -> None:
    names = [f"c{i}" for i in range(len(literals) + 1)]
    template = "".join(f"{{{n}}}{lit}" for n, lit in itertools.zip_longest(names, literals, fillvalue=""))
    for empty in range(len(names)):
        text = fill(template, **{n: None if i == empty else "W" for i, n in enumerate(names)})
        assert "  " not in text
        assert text == text.strip()
        assert text.count("W") == len(names) - 1


def test_types_of_cells() -> None:
    table = pa.table(
        {
            "item_id": ["a", "b"],
            "year": pa.array([1995.0, float("nan")]),
            "score": pa.array([8.5, None]),
            "n": pa.array([3, 4], pa.int32()),
            "new": [True, False],
            "tags": pa.array([["x", "", None, " y "], []], pa.list_(pa.string())),
            "sizes": pa.array([[1, 2], None], pa.large_list(pa.int64())),
            "maker": pa.array(["Acme", "Acme"]).dictionary_encode(),
        }
    )
    template = Template.parse("{year}, {score}, {n}, {new}, {tags}, {sizes}, {maker}")
    assert template.fill(table) == ["1995, 8.5, 3, true, x, y, 1, 2, Acme", "4, false, Acme"]
    assert template.fill(table.slice(1)) == ["4, false, Acme"]  # offsets of a slice of lists
    assert template.columns == ("year", "score", "n", "new", "tags", "sizes", "maker")


def test_prompt_is_put_before_the_text() -> None:
    assert Template.parse("{a}").fill(pa.table({"a": ["x y"]}), "<|embed|>\n") == ["<|embed|>\nx y"]
    assert Template.parse("{a} {a}").fill(pa.table({"a": ["x"]})) == ["x x"]
    assert Template.parse("{a}").fill(pa.table({"a": pa.array([], pa.string())}), "p") == []


def test_millions_of_rows_in_blocks() -> None:
    rows = 3 * BLOCK + 5
    table = pa.table(
        {
            "item_id": [str(i) for i in range(rows)],
            "a": ["Toy Story"] * rows,
            "b": ["A", None] * (rows // 2) + ["A"] * (rows % 2),
        }
    )
    began = time.perf_counter()
    texts = Template.parse("{a} by {b}.").fill(table)
    assert len(texts) == rows
    assert texts[-1] == texts[0] == "Toy Story by A."
    assert texts[1] == "Toy Story"
    assert time.perf_counter() - began < 5  # 200,000 rows take about 0.1 s


def test_an_item_without_any_text_is_named() -> None:
    table = pa.table({"item_id": ["m1", "m2", "m3"], "title": ["x", " ", None], "year": [1, None, None]})
    with pytest.raises(UserError, match=r"^template: item 'm2' \(and 1 more\) has no text, title, year empty; "):
        Template.parse("{title} ({year})").fill(table)
    with pytest.raises(UserError, match=r"^template: row 1 \(and 1 more\) has no text"):
        Template.parse("Film: {title}").fill(table.drop_columns("item_id"), "prompt")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{title", "cannot be read"),
        ("film", "names no column"),
        ("{title.x}", "not a plain column name"),
        ("{title!r}", "not a plain column name"),
        ("{titel}", r"has no column 'titel'; it has item_id, title, blob, parts; did you mean 'title'\?"),
        ("{blob}", "column 'blob' of .* holds binary, which is no text"),
        ("{parts}", "column 'parts' of .* holds struct<.*>, which is no text"),
    ],
)
def test_errors_are_found_in_the_schema(template: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["a"], "title": ["x"], "blob": [b"x"], "parts": [{"x": 1}]}), path)
    with pytest.raises(UserError, match=rf"^template: .*{message}"):
        check_template(path, template)
    assert check_template(path, "{title}").columns == ("title",)


def test_items_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"items\.parquet: file is missing"):
        check_template(tmp_path / "items.parquet", "{title}")
    (tmp_path / "items.parquet").write_text("no")
    with pytest.raises(UserError, match=r"items\.parquet: cannot be read"):
        check_template(tmp_path / "items.parquet", "{title}")


def test_real_items(shared_data: Path) -> None:
    import pyarrow.csv as pcsv

    table = pcsv.read_csv(shared_data / "ml-1m" / "items.csv")
    texts = Template.parse("{" + table.column_names[1] + "}").fill(table)
    assert len(texts) == len(table)
