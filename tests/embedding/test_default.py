"""The item vectors of a training that was given none: MiniLM's, made once, offline, without vLLM or Ray."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from catalogues import catalogue

from bifair_dist.data.representations import read_manifest, read_rows, write_representations
from bifair_dist.data.settings import DataSettings
from bifair_dist.embedding.default import ensure_representations
from bifair_dist.embedding.sentence_engine import SentenceEngine
from bifair_dist.errors import UserError


@dataclass(frozen=True)
class FakeDataset:
    folder: Path
    item_ids: npt.NDArray[np.object_]


@pytest.fixture
def dataset(tmp_path: Path) -> FakeDataset:
    folder = catalogue(tmp_path / "data", 5, i1="Toy Story", i2="Toy Story 2", i3="A manual of welding")
    return FakeDataset(folder, np.array([f"i{i:05d}" for i in range(5)], dtype=object))


def test_made_once_and_then_read_from_the_cache(
    dataset: FakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = DataSettings(cache=str(tmp_path / "cache"), embed_threads=1)
    folder = ensure_representations(dataset, settings)
    assert "no --data.representations given: embedding '{title}' of 5 items with MiniLM" in capsys.readouterr().out
    vectors = read_rows(folder, dataset.item_ids)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[1] @ vectors[2] > 0.6 > vectors[1] @ vectors[3]  # meaning is in them
    manifest = read_manifest(folder)
    assert (manifest["model"], manifest["pooling"], manifest["dim"]) == ("minilm", "mean", 384)
    monkeypatch.delattr(SentenceEngine, "__call__")
    assert ensure_representations(dataset, settings) == folder
    assert "embedding" not in capsys.readouterr().out


def test_other_texts_are_other_vectors(dataset: FakeDataset, tmp_path: Path) -> None:
    settings = DataSettings(cache=str(tmp_path / "cache"), embed_threads=1)
    folder = ensure_representations(dataset, settings)
    other = FakeDataset(catalogue(tmp_path / "other", 5, i1="Toy Story"), dataset.item_ids)
    assert ensure_representations(other, settings) != folder
    template = DataSettings(cache=str(tmp_path / "cache"), embed_threads=1, template="film: {title}")
    assert ensure_representations(dataset, template) != folder


def test_a_folder_that_is_given_is_checked_and_used(dataset: FakeDataset, tmp_path: Path) -> None:
    z = np.ones((5, 7), np.float32)
    write_representations(tmp_path / "own", list(dataset.item_ids), z, {})
    settings = DataSettings(representations=str(tmp_path / "own"), cache=str(tmp_path / "cache"))
    assert ensure_representations(dataset, settings) == tmp_path / "own"
    with pytest.raises(UserError, match="belong to no item"):
        ensure_representations(FakeDataset(dataset.folder, dataset.item_ids[1:]), settings)
    assert not (tmp_path / "cache").exists()


def test_a_bad_template_names_the_setting(dataset: FakeDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.template: "):
        ensure_representations(dataset, DataSettings(cache=str(tmp_path), template="{title"))


def test_runs_offline_without_torchvision_vllm_or_ray(dataset: FakeDataset, tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "for name in ('torchvision', 'vllm', 'ray'): sys.modules[name] = None\n"
        "def no(*a, **k): raise OSError('network used')\n"
        "socket.socket.connect = no; socket.getaddrinfo = no\n"
        "from bifair_dist.embedding.settings import EmbedSettings\n"
        "from bifair_dist.tracking_settings import TrackingSettings\n"
        "from bifair_dist.embedding.job import embed_here\n"
        f"embed_here(EmbedSettings(dataset={str(dataset.folder)!r}, output={str(tmp_path / 'z')!r},\n"
        "    engine='sentence-transformers', tracking=TrackingSettings(enabled=False)), threads=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "written to" in done.stdout
