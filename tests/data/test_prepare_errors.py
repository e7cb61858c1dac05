"""Bad input through the job: one clear line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from raw_layouts import LAYOUTS, write

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "jobs" / "prepare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def append(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as stream:
            stream.write(text)

    return change


def replace(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: write(folder / name, text)


CASES: dict[str, tuple[str, Callable[[Path], object], list[str], str]] = {
    "missing file": ("generic csv", lambda f: (f / "items.csv").unlink(), [], "no items.csv or items.parquet found"),
    "missing folder": ("generic csv", lambda f: f.rename(f.parent / "elsewhere"), [], "input not found"),
    "missing column": (
        "generic csv",
        replace("interactions.csv", "user,item_id\n1,2\n"),
        [],
        "interactions.csv: column 'user_id' is missing; did you mean 'user'?",
    ),
    "empty file": ("generic csv", replace("interactions.csv", ""), [], "interactions.csv: file is empty"),
    "only a header": ("generic csv", replace("interactions.csv", "user_id,item_id\n"), [], "file is empty"),
    "row with a value too few": ("generic csv", append("interactions.csv", "1,2\n"), [], "line 26: 2 values where 4"),
    "rating no number": (
        "generic csv",
        append("interactions.csv", "1,2,good,5\n"),
        [],
        "line 26: rating 'good' is",
    ),
    "rating nan": (
        "generic csv",
        append("interactions.csv", "1,2,nan,5\n"),
        [],
        "line 26: rating 'nan' is not a",
    ),
    "empty user": ("generic csv", append("interactions.csv", ",2,3,5\n"), [], "line 26: user_id is empty"),
    "row in ratings.dat": ("movielens ::", append("ratings.dat", "1::2::x::5\n"), [], "line 25: rating 'x' is not a"),
    "empty ratings.dat": ("movielens ::", replace("ratings.dat", ""), [], "ratings.dat: file is empty"),
    "broken json": (
        "amazon 2023",
        append("Books.jsonl", '{"rating": 5,\n'),
        [],
        "line 25: not valid JSON",
    ),
    "json field missing": ("amazon 2023", append("Books.jsonl", '{"rating": 5}\n'), [], "line 25: user_id is empty"),
    "no gzip": ("amazon 2018", lambda f: (f / "Books_5.json.gz").write_bytes(b"no gzip"), [], "line 1: not valid JSON"),
    "broken gzip": (
        "amazon 2018",
        lambda f: (f / "Books_5.json.gz").write_bytes((f / "Books_5.json.gz").read_bytes()[:-20]),
        [],
        "cannot be read",
    ),
    "row in train.txt": (
        "lightgcn",
        append("train.txt", "7 1 x\n"),
        [],
        "line 7: 'x' is not a whole number",
    ),
    "recbole column": (
        "recbole",
        replace("ml.inter", "user:token\titem_id:token\n1\t2\n"),
        [],
        "ml.inter: column 'user_id' is missing",
    ),
    "item without a row": (
        "generic csv",
        append("interactions.csv", "".join(f"{u},99,5,1\n" for u in (1, 2, 3))),
        ["--k-core", "1"],
        "no title for item '99' and 0 more",
    ),
    "only titles missing": (
        "generic csv",
        replace("items.csv", "item_id,title\n1,\n2, \n3,\n10,\n20,\n"),
        ["--k-core", "1"],
        "and 4 more of 5 items with interactions; add titles or pass --missing-title drop",
    ),
    "all titles dropped": (
        "generic csv",
        replace("items.csv", "item_id,title\n1,\n"),
        ["--missing-title", "drop"],
        "no item has a title",
    ),
    "k-core leaves nothing": ("generic csv", lambda f: None, ["--k-core", "9"], "--k-core 9 leaves nothing"),
    "no rating is high enough": ("generic csv", lambda f: None, ["--min-rating", "6"], "no pair is rated 6 or more"),
    "no rating at all": ("lightgcn", lambda f: None, ["--min-rating", "3"], "the interactions have no rating"),
    "no timestamp": ("lightgcn", lambda f: None, ["--split", "temporal", "--k-core", "1"], "have no timestamp"),
    "no given split": ("generic csv", lambda f: None, ["--split", "given", "--k-core", "1"], "brings no split"),
    "unknown split": ("generic csv", lambda f: None, ["--split", "tempral"], "did you mean 'temporal'?"),
    "unknown source": ("generic csv", lambda f: None, ["--source", "movielense"], "did you mean 'movielens'?"),
    "unknown option": ("generic csv", lambda f: None, ["--kcore", "3"], "unrecognized arguments: --kcore"),
    "unknown group": ("generic csv", lambda f: None, ["--groups", "genres:8"], "did you mean 'genre'?"),
    "group column": (
        "generic csv",
        lambda f: None,
        ["--k-core", "1", "--groups", "provider:publisher"],
        "the items have no column 'publisher'",
    ),
    "required column": ("generic csv", lambda f: None, ["--require", "genre"], "did you mean 'genres'?"),
    "one table in two files": (
        "generic csv",
        lambda f: (f / "items.tsv").write_text("item_id\ttitle\n1\tA\n"),
        ["--k-core", "1"],
        "items.csv and items.tsv are both there",
    ),
    "times in two units": (
        "generic csv",
        replace("interactions.csv", "user_id,item_id,rating,timestamp\n1,1,5,1600000000\n2,2,5,1600000000001\n"),
        ["--k-core", "1"],
        "timestamps are in two units, from 1600000000 to 1600000000001",
    ),
    "target exists": ("generic csv", lambda f: (f.parent / "out").mkdir(), [], "out: exists already"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(tmp_path: Path, case: str) -> None:
    layout, change, arguments, message = CASES[case]
    source, make = LAYOUTS[layout]
    make(tmp_path / "in")
    change(tmp_path / "in")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = run("--source", source, "--input", tmp_path / "in", "--out", tmp_path / "out", *arguments)
    errors = done.stderr.splitlines()
    assert (done.returncode, len(errors)) == (2, 1), done.stderr
    assert errors[0].startswith("error: ") and message in errors[0], errors[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_missing_titles_may_be_dropped_and_the_table_is_printed(generic: Path, tmp_path: Path) -> None:
    write(generic / "items.csv", "item_id,title\n1,One\n2,Two\n3,Three\n")
    out = tmp_path / "out"
    done = run("--source", "generic", "--input", generic, "--out", out, "--k-core", "1", "--missing-title", "drop")
    assert done.returncode == 0, done.stderr
    for word in ("users", "items", "density", "train", "valid", "test", "Q5-tail", "seconds", f"written to {out}"):
        assert word in done.stdout
    assert "2 items dropped" in done.stdout


def test_help_is_readable() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in ("--min-rating", "amazon2023", "genre[:COLUMN]", "leave-last-out", "default 10"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 125


@pytest.mark.parametrize(("changed", "warned"), [({}, False), ({"title": "another"}, True), ({"genres": "Z"}, True)])
def test_rows_that_repeat_an_item(generic: Path, tmp_path: Path, changed: dict[str, str], warned: bool) -> None:
    """A row for each genre of an item would lose all genres but the first; the same row again loses nothing."""
    items = pd.read_csv(generic / "items.csv", dtype=str)
    pd.concat([items, items.head(1).assign(**changed)]).to_csv(generic / "items.csv", index=False)
    done = run("--source", "generic", "--input", generic, "--out", tmp_path / "out", "--k-core", "1")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert ("1 rows of items.csv repeat an item_id with other values" in said) == warned
