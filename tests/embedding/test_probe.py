"""The probe against slow, obvious computations, exact enumeration, and planted unfairness."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bifair_dist.csr import Csr
from bifair_dist.data.dataset import Dataset, Interactions, read_dataset
from bifair_dist.data.generated import generate_dataset
from bifair_dist.data.representations import write_representations
from bifair_dist.embedding import probe as module
from bifair_dist.embedding import redrawn as redrawn_module
from bifair_dist.embedding.probe import chance, differences, probe, probe_and_print, probe_table
from bifair_dist.embedding.redrawn import redrawn_utilities
from bifair_dist.embedding.settings import ProbeSettings
from bifair_dist.errors import UserError
from bifair_dist.evaluation import EvaluationResult, GroupMembership, evaluate
from bifair_dist.evaluation.bootstrap import poisson_weights
from bifair_dist.evaluation.inequality import coefficient_of_variation
from bifair_dist.parallel.comm import Comm

Floats = npt.NDArray[np.floating]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("probe") / "data"
    generate_dataset(folder, n_items=800, n_users=600)
    return read_dataset(folder)


def random_vectors(dataset: Dataset, seed: int = 0, d: int = 16) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((dataset.n_items, d)).astype(np.float32)


def folder_of(path: Path, dataset: Dataset, z: Floats) -> str:
    return str(write_representations(path, list(dataset.item_ids), z, {"model": "test"}))


def settings(dataset: Dataset, *folders: str, **more: Any) -> ProbeSettings:
    return ProbeSettings(dataset=str(dataset.folder), representations=folders, **more)


def without_history(dataset: Dataset, users: int) -> Dataset:
    """The same without the training pairs of the first users."""
    keep = dataset.train.user >= users
    return dataclasses.replace(dataset, train=Interactions(dataset.train.user[keep], dataset.train.item[keep]))


def of_user(pairs: Interactions, user: int) -> npt.NDArray[np.int64]:
    return pairs.item[pairs.user == user]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_against_a_loop_over_users(
    split: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every item has a twin with the same vector, so that ties fall on the end of the list; some have no history."""
    dataset, k = without_history(dataset, 5), 15
    monkeypatch.setattr(module, "read_dataset", lambda _: dataset)
    half = dataset.n_items // 2
    z = random_vectors(dataset)
    z[half : 2 * half] = z[:half]
    found = probe(settings(dataset, folder_of(tmp_path / "z", dataset, z), split=split, k=k))
    unit = z.astype(np.float64) / np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)
    discount = 1 / np.log2(np.arange(2, k + 2))
    accuracy: list[tuple[float, float, float]] = []
    utility: dict[tuple[str, int], list[tuple[float, float]]] = {}
    skipped = cut_ties = 0
    for user in range(dataset.n_users):
        history, wanted = of_user(dataset.train, user), of_user(getattr(dataset, split), user)
        if not len(wanted):
            continue
        if not len(history):
            skipped += 1
            continue
        mean = unit[history].mean(0)
        scores = (unit @ (mean / np.linalg.norm(mean))).astype(np.float32)
        masked = np.union1d(history, of_user(dataset.valid, user)) if split == "test" else history
        order = [i for i in np.lexsort((np.arange(len(scores)), -scores)).tolist() if i not in set(masked.tolist())]
        cut_ties += scores[order[k - 1]] == scores[order[k]]
        top, random = order[:k], k / len(order)
        recall = len(set(top) & set(wanted.tolist())) / len(wanted)
        gain = sum(discount[place] for place, item in enumerate(top) if item in wanted)
        accuracy.append((recall, gain / discount[: min(k, len(wanted))].sum(), random))
        for table in dataset.groups.values():
            for g in range(len(table.labels)):
                members = table.entity_index[table.group_index == g]
                if table.entity == "item":
                    mine = np.intersect1d(wanted, members)
                    if len(mine):
                        pair = (len(set(top) & set(mine.tolist())) / len(mine), random)
                        utility.setdefault((table.name, g), []).append(pair)
                elif user in members:
                    utility.setdefault((table.name, g), []).append((recall, random))
    (result,) = found["folders"].values()
    expected = np.mean(accuracy, axis=0)
    assert [result["recall@15"], result["ndcg@15"]] == pytest.approx(expected[:2].tolist(), rel=1e-12)
    assert found["chance"]["recall@15"] == pytest.approx(expected[2], rel=1e-12)
    assert (found["users"], found["without_history"]) == (len(accuracy), skipped)
    assert skipped > 0 and cut_ties > 20
    for name, table in dataset.groups.items():
        means = [np.mean(utility[name, g], axis=0) for g in range(len(table.labels))]
        assert list(result["groups"][name]["utility"].values()) == pytest.approx([m[0] for m in means], rel=1e-12)
        assert list(found["chance"]["groups"][name]["utility"].values()) == pytest.approx([m[1] for m in means])
        counts = [len(utility[name, g]) for g in range(len(table.labels))]
        assert list(found["chance"]["groups"][name]["users"].values()) == counts
        values = np.array([m[0] for m in means])
        assert result["groups"][name]["cv"] == pytest.approx(values.std() / values.mean())
        assert result["groups"][name]["min"] == pytest.approx(np.sort(values)[: max(1, len(values) // 4)].mean())


def test_lengths_of_vectors_do_not_matter(dataset: Dataset, tmp_path: Path) -> None:
    z = random_vectors(dataset).astype(np.float64)
    longer = z * np.random.default_rng(1).lognormal(0, 2, (dataset.n_items, 1))
    found = probe(settings(dataset, *(folder_of(tmp_path / n, dataset, v) for n, v in (("a", z), ("b", longer)))))
    a, b = found["folders"]["a"], found["folders"]["b"]
    assert a["recall@20"] == b["recall@20"] and a["ndcg@20"] == b["ndcg@20"] and a["groups"] == b["groups"]
    same = {"difference": 0, "users": [0, 0], "users_and_items": [0, 0]}
    assert b["differences"]["recall@20"] == same and b["differences"]["groups"]["genre"]["cv"] == same


def test_the_order_of_users_does_not_matter(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    z = folder_of(tmp_path / "z", dataset, random_vectors(dataset))
    before = probe(settings(dataset, z))
    place = np.random.default_rng(2).permutation(dataset.n_users)

    def moved(pairs: Interactions) -> Interactions:
        user = place[pairs.user]
        order = np.lexsort((pairs.item, user))
        return Interactions(user[order], pairs.item[order])

    groups = {
        name: dataclasses.replace(t, entity_index=place[t.entity_index]) if t.entity == "user" else t
        for name, t in dataset.groups.items()
    }
    changed = dataclasses.replace(
        dataset, groups=groups, train=moved(dataset.train), valid=moved(dataset.valid), test=moved(dataset.test)
    )
    monkeypatch.setattr(module, "read_dataset", lambda _: changed)
    after = probe(settings(dataset, z))
    for name in ("recall@20", "ndcg@20"):
        assert after["folders"]["z"][name] == pytest.approx(before["folders"]["z"][name], rel=1e-12)
    for name in dataset.groups:
        for key in ("utility", "ndcg_utility"):
            b, a = (found["folders"]["z"]["groups"][name][key] for found in (before, after))
            assert a == pytest.approx(b, rel=1e-12)
        assert after["chance"]["groups"][name]["utility"] == pytest.approx(before["chance"]["groups"][name]["utility"])


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
    assert before["utility"][label] > 2 * found["chance"]["groups"]["genre"]["utility"][label]
    assert after["utility"][label] < 0.5 * before["utility"][label]
    assert after["cv"] > before["cv"] and after["min"] < before["min"]
    change = found["folders"]["bad"]["differences"]["groups"]["genre"]["utility"][label]
    assert change["difference"] == pytest.approx(after["utility"][label] - before["utility"][label])
    (low, high), (lower, higher) = change["users"], change["users_and_items"]
    assert lower < low < change["difference"] < high < higher < 0
    assert "differences" not in found["folders"]["good"]


def small_case() -> tuple[Csr, Csr, torch.Tensor, list[GroupMembership]]:
    """Six items, four users with histories of different sizes: known, wanted, users to rank, group tables."""
    known = Csr.of(torch.tensor([0, 1, 1, 2, 2, 2, 2, 3]), torch.tensor([0, 0, 1, 0, 1, 2, 3, 5]), 4)
    wanted = Csr.of(torch.tensor([0, 0, 0, 1, 2, 2, 3]), torch.tensor([1, 2, 5, 4, 4, 5, 0]), 4)
    pairs = torch.tensor([[0, 0], [1, 0], [2, 1], [4, 0], [4, 1], [5, 1], [3, 2]])  # item 4 in two, none wanted in 2
    genre = GroupMembership("genre", "item", ("a", "b", "c"), pairs[:, 0], pairs[:, 1])
    age = GroupMembership("age", "user", ("x", "y"), torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
    return known, wanted, torch.tensor([0, 1, 2]), [genre, age]


def lists(order: tuple[int, ...], known: Csr, users: torch.Tensor, k: int) -> torch.Tensor:
    ranked = torch.full((len(users), k), -1)
    for row, user in enumerate(users.tolist()):
        has = known.columns[known.indptr[user] : known.indptr[user + 1]].tolist()
        mine = [item for item in order if item not in has][:k]
        ranked[row, : len(mine)] = torch.tensor(mine)
    return ranked


@pytest.mark.parametrize("k", [1, 2, 4])
def test_chance_is_the_mean_over_all_orders(k: int) -> None:
    """All 720 orders of six items; at k = 4 the third user has fewer items left than the list has places."""
    known, wanted, users, groups = small_case()
    results = [
        evaluate(lists(order, known, users, k), users, wanted, groups, n_items=6, comm=Comm())
        for order in itertools.permutations(range(6))
    ]
    expected = chance(results[0], wanted, 6 - known.counts()[users])
    for name in ("recall", "ndcg"):
        assert expected[f"{name}@{k}"] == pytest.approx(np.mean([r.accuracy[name] for r in results]), rel=1e-12)
    for t, table in enumerate(groups):
        mean = torch.stack([r.summaries[t].utility for r in results]).mean(0).tolist()
        known_values = [v if v is not None else np.nan for v in expected["groups"][table.name]["utility"].values()]
        assert known_values == pytest.approx(mean, rel=1e-12, nan_ok=True)
    assert expected["groups"]["genre"]["utility"]["c"] is None
    assert expected["groups"]["genre"]["users"] == {"a": 3, "b": 3, "c": 0}


def test_differences_are_those_of_users_drawn_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replicate evaluated from scratch, with every user in it as often as drawn, the same for both lists."""
    replicates, n = 7, 40
    monkeypatch.setattr(module, "REPLICATES", replicates)
    monkeypatch.setattr(module, "_USERS", 16)
    draw = np.random.default_rng(4)
    users = torch.from_numpy(np.sort(draw.choice(200, n, replace=False)))
    wanted = Csr.of(torch.from_numpy(draw.integers(0, 200, 900)), torch.from_numpy(draw.integers(0, 30, 900)), 200)
    table = GroupMembership("g", "item", ("a", "b", "c"), torch.arange(30), torch.from_numpy(draw.integers(0, 3, 30)))
    ranked = [torch.from_numpy(np.stack([draw.permutation(30)[:5] for _ in range(n)])) for _ in range(2)]

    def measured(which: int, rows: torch.Tensor) -> EvaluationResult:
        return evaluate(ranked[which][rows], users[rows], wanted, [table], n_items=30, comm=Comm())

    everyone = [measured(which, torch.arange(n)) for which in range(2)]
    lists_of = {"n_items": 30, "seed": module.SEED, "replicates": replicates}
    redrawn = [redrawn_utilities(lists, users, wanted, [table], **lists_of) for lists in ranked]
    (found,) = differences(everyone, redrawn)
    weights = poisson_weights(module.SEED, np.arange(replicates), users.numpy())
    drawn = [torch.arange(n).repeat_interleave(torch.from_numpy(w).long()) for w in weights]
    again = [[measured(which, rows) for which in range(2)] for rows in drawn]
    picks: dict[str, tuple[dict[str, Any], Callable[[EvaluationResult], float]]] = {
        "recall": (found["recall@5"], lambda r: r.accuracy["recall"]),
        "ndcg": (found["ndcg@5"], lambda r: r.accuracy["ndcg"]),
        "cv": (found["groups"]["g"]["cv"], lambda r: float(r.summaries[0].cv)),
        "min": (found["groups"]["g"]["min"], lambda r: float(r.summaries[0].minimum)),
        "b": (found["groups"]["g"]["utility"]["b"], lambda r: float(r.summaries[0].utility[1])),
    }
    for name, (entry, pick) in picks.items():
        values = [pick(second) - pick(first) for first, second in again]
        assert entry["difference"] == pytest.approx(pick(everyone[1]) - pick(everyone[0]), rel=1e-9), name
        assert entry["users"] == pytest.approx(list(np.quantile(values, [0.025, 0.975])), rel=1e-9), name
        assert (entry["users_and_items"] is None) == (name == "ndcg")
    cv = [coefficient_of_variation(found[1]) for found in redrawn]
    expected = np.quantile((cv[1] - cv[0]).numpy(), [0.025, 0.975])
    assert found["groups"]["g"]["cv"]["users_and_items"] == pytest.approx(list(expected))


def test_items_drawn_again_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Item and user groups, several groups of an item; chunks of two replicates."""
    _, wanted, _, groups = small_case()
    users = torch.tensor([0, 2, 3])
    monkeypatch.setattr(redrawn_module, "_CHUNK", 16)
    ranked, replicates = torch.tensor([[1, 3], [4, -1], [0, 5]]), 9
    found = redrawn_utilities(ranked, users, wanted, groups, n_items=6, seed=3, replicates=replicates)
    w = poisson_weights(3, np.arange(replicates), users.numpy())
    v = poisson_weights(4, np.arange(replicates), np.arange(6))
    members: list[list[tuple[set[int], set[int]]]] = [[({0, 2, 3}, set(range(6)))]]  # users and items of each group
    for table in groups:
        pairs = list(zip(table.entity_index.tolist(), table.group_index.tolist(), strict=True))
        of = [{entity for entity, group in pairs if group == g} for g in range(len(table.labels))]
        members.append([({0, 2, 3}, m) if table.entity == "item" else (m, set(range(6))) for m in of])
    undefined = 0
    for values, table_members in zip(found, members, strict=True):
        for g, (who, what) in enumerate(table_members):
            for r in range(replicates):
                total = count = 0.0
                for place, user in enumerate(users.tolist()):
                    held = wanted.columns[wanted.indptr[user] : wanted.indptr[user + 1]].tolist() if user in who else []
                    mine = sum(v[r, i] for i in held if i in what)
                    if mine > 0:
                        hits = sum(v[r, i] for i in held if i in what and i in ranked[place].tolist())
                        total, count = total + w[r, place] * hits / mine, count + w[r, place]
                undefined += count == 0
                expected = total / count if count else np.nan
                assert float(values[r, g]) == pytest.approx(expected, nan_ok=True)
    assert 0 < undefined < replicates * 3


def test_table_and_file(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z = random_vectors(dataset)
    z[3] = 0
    folders = [folder_of(tmp_path / n, dataset, v) for n, v in (("one", z), ("two", z[::-1].copy()), ("three", z))]
    output = tmp_path / "new" / "probe.json"
    probe_and_print(settings(dataset, *folders, output=str(output)))
    shown = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert probe_table(found) in shown
    for part in (
        "genre: MIN",
        "two minus one",
        "three minus one",
        "one: 1 items have a zero vector",
        "items come into any list",
        "chance",
    ):
        assert part in shown
    recall = next(line.split() for line in shown.splitlines() if line.startswith("recall@20"))
    values = [found["chance"]["recall@20"], *(found["folders"][n]["recall@20"] for n in ("one", "two", "three"))]
    assert recall[1:] == [f"{v:.4f}" for v in values]
    with pytest.raises(UserError, match="already exists"):
        probe_and_print(settings(dataset, folders[0], output=str(output)))
    with pytest.raises(UserError, match="cannot be written"):
        probe_and_print(settings(dataset, folders[0], output=str(output / "below")))


def test_folders_of_one_name_are_told_apart(dataset: Dataset, tmp_path: Path) -> None:
    a, b = (folder_of(tmp_path / n / "z", dataset, random_vectors(dataset)) for n in "ab")
    assert list(probe(settings(dataset, a, b))["folders"]) == [a, b]
    with pytest.raises(UserError, match="is there twice"):
        probe(settings(dataset, a, f"{a}/../z"))


def test_mistakes_are_one_line(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--dataset"):
        probe(ProbeSettings())
    with pytest.raises(UserError, match="--representations"):
        probe(settings(dataset))
    short = write_representations(tmp_path / "s", list(dataset.item_ids[1:]), random_vectors(dataset)[1:], {})
    with pytest.raises(UserError, match="have no vector"):
        probe(settings(dataset, str(short)))
    monkeypatch.setattr(module, "read_dataset", lambda _: without_history(dataset, dataset.n_users))
    with pytest.raises(UserError, match="no user has pairs both in train and in valid"):
        probe(settings(dataset, str(short)))
