"""MF and LightGCN from settings to lists, through the same trainer, evaluation and run folder as the other methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import Small, history_of, metrics_of, run, vectors_of

from bifair_dist.data.dataset import read_dataset
from bifair_dist.errors import UserError
from bifair_dist.serving.lists import write_lists
from bifair_dist.serving.settings import RecommendSettings
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

LONG = {"training.max_epochs": 30, "training.eval_every": 15, "training.theta_lr": 0.02, "model.l2": 1e-3}
PUBLISHED = {"model.loss": "bpr", "model.num_negatives": 1, "model.negative_sampling": "per_example"}


@pytest.mark.parametrize("method", ["mf", "lightgcn"])
@pytest.mark.parametrize("loss", ["bpr", "info_nce"])
def test_trains_and_ranks(small: Small, tmp_path: Path, method: str, loss: str) -> None:
    own = PUBLISHED if loss == "bpr" else {}
    done = run(small, tmp_path / "runs", {"training.method": method, **LONG, **own})
    history = history_of(done)
    assert {record["phase"] for record in history} == {"base"}
    assert history[-1]["loss"] < history[0]["loss"]
    dataset = read_dataset(small.dataset)
    # 20 of about 200 items drawn blindly would find a tenth.
    assert metrics_of(done)["test"]["recall@20"] > 0.15
    items, users = (vectors_of(done / f) for f in ("item_representations", "user_embeddings"))
    assert items.shape == (dataset.n_items, 6) and users.shape == (dataset.n_users, 6)
    # The lists come back from the run folder alone, so the users' vectors are in it.
    settings = override(RecommendSettings(), {"run": str(done), "output": str(tmp_path / "lists.csv"), "k": 20})
    lists = write_lists(override(settings, {"exclude": "valid"}))
    test = pd.read_parquet(done / "recommendations.parquet")
    both = test.merge(lists, on=["user_id", "rank"])
    assert len(both) == len(test) and (both["item_id_x"] == both["item_id_y"]).mean() > 0.999
    assert np.allclose(both["score_x"], both["score_y"], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.method": "alpharec", "model.loss": "bpr"}, "model.loss: bpr needs"),
        ({"training.method": "mf", "model.users": "frozen"}, "model.users: --training.method mf"),
        ({"training.method": "lightgcn", "training.warm_start": "runs/x"}, "training.warm_start: --training.method"),
        ({"training.method": "mf", "bilevel.outer_data": "next"}, "bilevel.outer_data: --training.method mf"),
        ({"training.method": "mf", "training.strategy": "deepspeed"}, "training.strategy: --training.method mf"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        override(TrainSettings(), changes)
