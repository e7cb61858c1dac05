"""A user who comes with a known user's training items gets that user's vector, whatever the model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bifair_dist.csr import Csr
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.graph import Graph, build_graph
from bifair_dist.model.id_embeddings import IdEmbeddings
from bifair_dist.model.layout import Whole
from bifair_dist.model.projector import init_theta
from bifair_dist.model.unseen import unseen_of_alpharec, unseen_of_ids

USERS, ITEMS, D = 9, 12, 7
RNG = torch.Generator().manual_seed(0)
PAIRS = torch.nonzero(torch.rand(USERS, ITEMS, generator=RNG) < 0.4).T
Z = torch.randn(ITEMS, D, generator=RNG, dtype=torch.float64)


def graph() -> Graph:
    return build_graph(PAIRS[0], PAIRS[1], USERS, ITEMS, torch.float64)


def histories() -> Csr:
    return Csr.of(PAIRS[0], PAIRS[1], USERS)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("hidden", [5, 11])
@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_alpharec(layers: int, hidden: int, kind: str) -> None:
    theta = init_theta(D, hidden, 4, kind, 0, torch.float64)
    model = AlphaRec(graph(), Whole(), layers)
    got = unseen_of_alpharec(model, theta, Z).users(histories())
    torch.testing.assert_close(got, model.ranking_rows(theta, Z)[0], atol=1e-12, rtol=0)


def test_frozen_users_are_means_of_what_items_were() -> None:
    theta = init_theta(D, 5, 4, "mlp", 0, torch.float64)
    before = torch.randn(ITEMS, D, dtype=torch.float64, generator=RNG)
    follow = AlphaRec(graph(), Whole(), 2)
    model = AlphaRec(graph(), Whole(), 2, user_inputs=follow.pooled(before))
    got = unseen_of_alpharec(model, theta, Z, before).users(histories())
    torch.testing.assert_close(got, model.ranking_rows(theta, Z)[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("loss", ["bpr", "info_nce"])
def test_id_embeddings_whose_users_are_the_mean_of_their_items(layers: int, loss: str) -> None:
    items = torch.randn(ITEMS, 4, dtype=torch.float64, generator=RNG)
    history = histories()
    users = F.embedding_bag(history.columns, items, history.indptr, mode="mean", include_last_offset=True)
    e = torch.cat([items, users])
    model = IdEmbeddings(graph(), Whole(), layers, loss)  # type: ignore[arg-type]
    got = unseen_of_ids(model, e)
    torch.testing.assert_close(got.users(history), model.ranking_rows({}, e)[0], atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="id embeddings"):
        got.items(items)


def test_an_item_without_pairs_is_an_isolated_node() -> None:
    theta = init_theta(D, 5, 4, "mlp", 0, torch.float64)
    new = torch.randn(1, D, dtype=torch.float64, generator=RNG)
    wide = AlphaRec(build_graph(PAIRS[0], PAIRS[1], USERS, ITEMS + 1, torch.float64), Whole(), 2)
    want = wide.ranking_rows(theta, torch.cat([Z, new]))[1][-1:]
    got = unseen_of_alpharec(AlphaRec(graph(), Whole(), 2), theta, Z).items(new)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_an_empty_history_has_no_direction() -> None:
    theta = init_theta(D, 5, 4, "mlp", 0, torch.float64)
    nobody = Csr(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64))
    assert not unseen_of_alpharec(AlphaRec(graph(), Whole(), 2), theta, Z).users(nobody).any()
