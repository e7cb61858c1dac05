"""Lists for known users, for users by what they have, and items near an item, from a finished run's folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kinds import KINDS
from small_runs import Small, run, vectors_of

from bifair_dist.data.dataset import read_dataset
from bifair_dist.errors import UserError
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.recommender import Recommender


@pytest.fixture(scope="module", params=KINDS)
def done(request: pytest.FixtureRequest, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small, tmp_path_factory.mktemp("runs"), KINDS[request.param])


@pytest.fixture(scope="module")
def one(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small, tmp_path_factory.mktemp("runs"), {})


@pytest.fixture
def model(one: Path) -> Recommender:
    return recommender_of(one)


def test_the_lists_of_the_run(done: Path) -> None:
    want = pd.read_parquet(done / "recommendations.parquet")
    users = list(dict.fromkeys(want["user_id"]))
    got = recommender_of(done).recommend(users, exclude="valid")
    pd.testing.assert_frame_equal(got[want.columns], want, atol=1e-6)


def test_a_run_of_an_earlier_version_has_no_vectors_to_serve(done: Path, tmp_path: Path) -> None:
    """They are made from Z and the projector."""
    new = recommender_of(done)
    shutil.copytree(done, tmp_path / "old", ignore=shutil.ignore_patterns("serving", "checkpoints"))
    old = recommender_of(tmp_path / "old")
    torch.testing.assert_close(old.users, new.users, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(old.items, new.items, atol=1e-6, rtol=1e-5)


def test_a_known_user_s_training_items_as_a_history(done: Path, small: Small) -> None:
    """The same list as the user's own, where the users' vectors follow from what they have; else a list."""
    model, dataset = recommender_of(done), read_dataset(small.dataset)
    user = 5
    items = dataset.item_ids[dataset.train.item[dataset.train.user == user]].tolist()
    got = model.recommend_for([items], 10)
    assert not set(got["item_id"]) & set(items) and got["rank"].tolist() == list(range(1, 11))
    if "user_embeddings" not in {path.name for path in done.iterdir()}:
        want = model.recommend([dataset.user_ids[user]], 10, exclude="train")
        assert got["item_id"].tolist() == want["item_id"].tolist()
        np.testing.assert_allclose(got["score"], want["score"], atol=1e-5)


def test_the_order_of_a_history_and_doubles_do_not_matter(model: Recommender) -> None:
    a, b, c = model.item_ids[:3]
    first = model.recommend_for([[a, b, c]], 5)
    for history in ([c, a, b], [a, b, c, a]):
        pd.testing.assert_frame_equal(model.recommend_for([history], 5), first, atol=1e-6)


def test_several_histories_at_once_are_each_as_alone(model: Recommender) -> None:
    histories = [list(model.item_ids[:2]), list(model.item_ids[5:9])]
    both = model.recommend_for(histories, 7)
    for n, history in enumerate(histories):
        alone = model.recommend_for([history], 7)
        assert both[both["history"] == n]["item_id"].tolist() == alone["item_id"].tolist()


def test_what_is_left_out_is_not_shown_and_the_rest_moves_up(model: Recommender) -> None:
    user = str(model.user_ids[0])
    whole = model.recommend([user], 6)["item_id"].tolist()
    got = model.recommend([user], 5, leave_out=[whole[0]])["item_id"].tolist()
    assert got == whole[1:]
    assert model.recommend_for([[whole[0]]], 5, leave_out=whole[1:3])["item_id"].isin(whole[:3]).sum() == 0


def test_similar_items_are_the_nearest_by_cosine(model: Recommender) -> None:
    vectors = model.items.numpy() / np.linalg.norm(model.items.numpy(), axis=1, keepdims=True)
    cosines = vectors @ vectors[3]
    cosines[3] = -2
    got = model.similar_items(str(model.item_ids[3]), 4)
    assert got["item_id"].tolist() == model.item_ids[np.argsort(-cosines)[:4]].tolist()
    assert got["score"].is_monotonic_decreasing


def test_a_new_item_ranks_like_a_copy_and_may_be_in_a_history(one: Path, model: Recommender) -> None:
    """It has no pairs, so it is near the item whose representation it shares, but is not it."""
    z = torch.from_numpy(vectors_of(one / "item_representations")[:1])
    grown = model.with_items(["new"], ["New"], z)
    lists = grown.recommend(k=len(grown.item_ids))
    assert (lists["item_id"] == "new").sum() == len(model.user_ids)
    assert "new" not in grown.recommend_for([["new"]], 5)["item_id"].tolist()
    old = model.recommend(k=5)
    shown = grown.recommend(k=6)
    shown = shown[shown["item_id"] != "new"]
    assert shown.groupby("user_id").head(5)["item_id"].tolist() == old["item_id"].tolist()
    with pytest.raises(UserError, match=f"{model.item_ids[0]!r} is in the catalogue already"):
        model.with_items([model.item_ids[0]], ["x"], z)


def test_no_more_items_than_there_are(model: Recommender) -> None:
    lists = model.recommend([str(model.user_ids[0])], 10_000, exclude="none")
    assert sorted(lists["item_id"]) == sorted(model.item_ids)


def test_bad_input_is_one_line(model: Recommender) -> None:
    for call, said in (
        (lambda: model.recommend(["nobody"]), "users: 'nobody' is no user of the run"),
        (lambda: model.recommend(exclude="some"), "exclude: 'some' is none of all, valid, train, none"),
        (lambda: model.recommend(leave_out=["no"]), "leave_out: 'no' is no item"),
        (lambda: model.recommend(k=0), "k: 0; give 1 or more"),
        (lambda: model.recommend_for([["no"]]), "history: 'no' is no item of the catalogue"),
        (lambda: model.recommend_for([[]]), "history: empty"),
        (lambda: model.similar_items("no"), "item: 'no' is no item"),
    ):
        with pytest.raises(UserError, match=said):
            call()
