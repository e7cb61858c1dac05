"""MiniLM vectors: against the model's published pooling done by hand, cached, offline, without torchvision."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bifair_dist.config import DataSettings
from bifair_dist.embedding import minilm
from bifair_dist.embedding.representations import read_manifest, read_rows, write_representations
from bifair_dist.embedding.texts import item_texts
from bifair_dist.errors import UserError

TITLES = [
    "Toy Story",
    "",
    "A much longer title, with a subtitle: the return of the thing (1999)",
    "Élan vital",
    "toy story 2",
]


@dataclass(frozen=True)
class FakeDataset:
    folder: Path
    item_ids: npt.NDArray[np.object_]
    titles: npt.NDArray[np.object_]


@pytest.fixture
def dataset(tmp_path: Path) -> FakeDataset:
    ids = [f"m{n}" for n in range(len(TITLES))]
    table = {
        "item_id": ids,
        "title": TITLES,
        "year": [1995, None, 1999, 2001, 1999],
        "genre": [["a", "b"], [], None, ["c"], []],
    }
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table(table), folder / "items.parquet")
    return FakeDataset(folder, np.array(ids, dtype=object), np.array(TITLES, dtype=object))


def test_texts(dataset: FakeDataset) -> None:
    assert item_texts(dataset, "{title}") == TITLES
    assert item_texts(dataset, "film {title}, {{x}}")[0] == "film Toy Story, {x}"
    assert item_texts(dataset, "{title} ({year}): {genre}")[:3] == [
        "Toy Story (1995): a, b",
        " (): ",
        f"{TITLES[2]} (1999): ",
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{titel}", "no column 'titel'; it has item_id, title, year, genre"),
        ("{title", "cannot be read"),
        ("film", "names no column"),
        ("{title.__class__}", "not a plain column name"),
        ("{title:>5}", "not a plain column name"),
        ("{}", "not a plain column name"),
    ],
)
def test_bad_templates(template: str, message: str, dataset: FakeDataset) -> None:
    with pytest.raises(UserError, match=r"^data\.template: ") as error:
        item_texts(dataset, template)
    assert message in str(error.value)


@pytest.fixture(scope="module")
def vectors() -> npt.NDArray[np.float32]:
    return minilm.encode(TITLES, threads=1, quiet=True)


def test_vectors_are_mean_pooled_and_normalised(vectors: npt.NDArray[np.float32]) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(minilm._model_folder())
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for title, found in zip(TITLES, vectors, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(title, return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(0)
        np.testing.assert_allclose(found, (mean / mean.norm()).numpy(), atol=2e-6)


def test_meaning_is_in_them(vectors: npt.NDArray[np.float32]) -> None:
    similar = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(similar), 1, atol=1e-6)
    assert similar[0, 4] > 0.6 > similar[0, 3]


def test_ensured_once_and_read_from_the_cache(
    dataset: FakeDataset, vectors: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def fake(texts: list[str], **_: object) -> npt.NDArray[np.float32]:
        calls.append(texts)
        return vectors

    monkeypatch.setattr(minilm, "encode", fake)
    settings = DataSettings(cache=str(tmp_path / "cache"))
    folder = minilm.ensure_representations(dataset, settings)
    assert minilm.ensure_representations(dataset, settings) == folder
    assert calls == [TITLES]
    np.testing.assert_array_equal(read_rows(folder, dataset.item_ids), vectors)
    manifest = read_manifest(folder)
    assert manifest["model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert manifest["revision"].startswith("sha256:")
    assert (manifest["pooling"], manifest["normalised"], manifest["template"]) == ("mean", "l2", "{title}")
    assert (manifest["rows"], manifest["dim"], manifest["dtype"]) == (5, 384, "float32")
    other = replace(dataset, titles=np.array([*TITLES[:-1], "toy story 3"], dtype=object))
    assert minilm.ensure_representations(other, settings) != folder
    renamed = replace(dataset, item_ids=np.array(["x", *dataset.item_ids[1:]], dtype=object))
    assert minilm.ensure_representations(renamed, settings) != folder
    assert len(calls) == 3


def test_given_folder_is_checked_not_encoded(
    dataset: FakeDataset, vectors: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(minilm, "encode")
    write_representations(tmp_path / "own", dataset.item_ids, vectors[:, :7], {})
    settings = DataSettings(representations=str(tmp_path / "own"), cache=str(tmp_path / "cache"))
    assert minilm.ensure_representations(dataset, settings) == tmp_path / "own"
    short = replace(dataset, item_ids=dataset.item_ids[1:], titles=dataset.titles[1:])
    with pytest.raises(UserError, match="belong to no item"):
        minilm.ensure_representations(short, settings)
    assert not (tmp_path / "cache").exists()


def test_runs_offline_and_without_torchvision() -> None:
    code = (
        "import socket, sys; sys.modules['torchvision'] = None\n"
        "def no(*a, **k): raise OSError('network used')\n"
        "socket.socket.connect = no; socket.getaddrinfo = no\n"
        "from bifair_dist.embedding.minilm import encode\n"
        "assert encode(['a title'], threads=1, quiet=True).shape == (1, 384)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
