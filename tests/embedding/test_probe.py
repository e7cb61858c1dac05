"""The probe against a slow, obvious computation, and against planted unfairness."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bifair_dist.catalog.dataset import Dataset, read_dataset
from bifair_dist.catalog.generated import generate_dataset
from bifair_dist.config import ProbeSettings
from bifair_dist.embedding.probe import probe, probe_and_print, probe_table
from bifair_dist.embedding.representations import write_representations
from bifair_dist.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("probe") / "data"
    generate_dataset(folder)
    return read_dataset(folder)


def random_vectors(dataset: Dataset, seed: int = 0, d: int = 16) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((dataset.n_items, d)).astype(np.float32)


def folder_of(path: Path, dataset: Dataset, z: npt.NDArray[np.float32]) -> str:
    return str(write_representations(path, list(dataset.item_ids), z, {"model": "test"}))


def settings(dataset: Dataset, *folders: str, **more: object) -> ProbeSettings:
    return ProbeSettings(dataset=str(dataset.folder), representations=folders, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_against_a_loop_over_users(split: str, dataset: Dataset, tmp_path: Path) -> None:
    z = random_vectors(dataset)
    found = probe(settings(dataset, folder_of(tmp_path / "z", dataset, z), split=split, k=20))
    unit = z.astype(np.float64) / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)
    table = dataset.groups["genre"]
    of_item: dict[int, set[int]] = {}
    for item, group in zip(table.entity_index, table.group_index, strict=True):
        of_item.setdefault(int(item), set()).add(int(group))
    held = getattr(dataset, split)
    recalls: list[float] = []
    utilities: dict[int, list[float]] = {g: [] for g in range(len(table.labels))}
    for user in range(dataset.n_users):
        history, wanted = dataset.train.item[dataset.train.user == user], set(held.item[held.user == user].tolist())
        if not wanted:
            continue
        scores = unit @ unit[history].mean(0)
        scores[history] = -np.inf
        if split == "test":
            scores[dataset.valid.item[dataset.valid.user == user]] = -np.inf
        top = set(np.lexsort((np.arange(len(scores)), -scores))[:20].tolist())
        recalls.append(len(top & wanted) / len(wanted))
        for g in utilities:
            mine = {i for i in wanted if g in of_item.get(i, set())}
            if mine:
                utilities[g].append(len(top & mine) / len(mine))
    (result,) = found["folders"].values()
    assert result["recall@20"] == pytest.approx(np.mean(recalls), abs=1e-4)
    for g, label in enumerate(table.labels):
        assert result["groups"]["genre"]["utility"][label] == pytest.approx(np.mean(utilities[g]), abs=1e-3)
    assert found["users"] == len(recalls)


def test_lengths_of_vectors_do_not_matter(dataset: Dataset, tmp_path: Path) -> None:
    z = random_vectors(dataset)
    longer = z * np.exp2(np.random.default_rng(1).integers(-3, 4, (dataset.n_items, 1))).astype(np.float32)
    found = probe(settings(dataset, *(folder_of(tmp_path / n, dataset, v) for n, v in (("a", z), ("b", longer)))))
    a, b = found["folders"]["a"], found["folders"]["b"]
    assert a["recall@20"] == b["recall@20"] and a["groups"] == b["groups"]


def test_a_group_whose_vectors_are_noise_is_served_worse(dataset: Dataset, tmp_path: Path) -> None:
    """Vectors that tell tastes (the users' own co-occurrence), then one genre's replaced by noise."""
    seen = np.zeros((dataset.n_items, dataset.n_users), np.float32)
    seen[dataset.train.item, dataset.train.user] = 1
    u, s, _ = np.linalg.svd(seen, full_matrices=False)
    good = (u[:, :32] * s[:32]).astype(np.float32)
    table = dataset.groups["genre"]
    label = table.labels[1]
    bad = good.copy()
    members = table.entity_index[table.group_index == 1]
    bad[members] = random_vectors(dataset, 3, 32)[members]
    found = probe(
        settings(dataset, folder_of(tmp_path / "good", dataset, good), folder_of(tmp_path / "bad", dataset, bad))
    )
    before, after = (found["folders"][n]["groups"]["genre"] for n in ("good", "bad"))
    assert before["utility"][label] > 3 * found["chance"]
    assert after["utility"][label] < 0.3 * before["utility"][label]
    assert after["cv"] > before["cv"] and after["min"] < before["min"]
    low, high = found["folders"]["good"]["intervals"]["groups"]["genre"]["cv"]
    assert low < before["cv"] < high


def test_random_vectors_are_near_chance(dataset: Dataset, tmp_path: Path) -> None:
    """Averaged over draws of vectors; the user's mean then knows nothing of the held-out items."""
    folders = [folder_of(tmp_path / str(i), dataset, random_vectors(dataset, i, 64)) for i in range(8)]
    found = probe(settings(dataset, *folders))
    mean = np.mean([f["recall@20"] for f in found["folders"].values()])
    assert mean == pytest.approx(found["chance"], rel=0.15)


def test_table_and_file(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z = folder_of(tmp_path / "z", dataset, random_vectors(dataset))
    output = tmp_path / "probe.json"
    probe_and_print(settings(dataset, z, output=str(output)))
    shown = capsys.readouterr().out
    assert "genre: MIN" in shown and "a random order would give" in shown
    assert probe_table(json.loads(output.read_text())) in shown
    with pytest.raises(UserError, match="already exists"):
        probe_and_print(settings(dataset, z, output=str(output)))


def test_mistakes_are_one_line(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--representations"):
        probe(settings(dataset))
    short = write_representations(tmp_path / "s", list(dataset.item_ids[1:]), random_vectors(dataset)[1:], {})
    with pytest.raises(UserError, match="have no vector"):
        probe(settings(dataset, str(short)))
