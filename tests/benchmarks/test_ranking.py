"""benchmarks/ranking.py runs without RecBole, and its factors are those of the training matrix."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from test_commands import ROOT, run

from bifair_dist.data.dataset import Interactions

sys.path.insert(0, str(ROOT / "benchmarks"))
from ranking import factors


def test_the_product(tmp_path: Path) -> None:
    sizes = ("--product", "60,300,900", "--users", "40", "--rounds", "1")
    code, text = run("ranking.py", tmp_path / "ranking.md", *sizes)
    assert code == 0
    assert "| product, tiles of 256 x 4,096 |" in text and "| full ranking, top 20 without known items |" in text
    assert "RecBole as shipped over ours: not run" in text and "known items 15 a user" in text


def test_factors_multiply_to_the_matrix() -> None:
    """Of a matrix of rank 2: two blocks of ones."""
    user, item = (torch.block_diag(torch.ones(70, 90), torch.ones(80, 66)) > 0).nonzero(as_tuple=True)
    left, right = factors(Interactions(user.numpy(), item.numpy()), 150, 156)
    dense = np.zeros((150, 156), np.float32)
    dense[user, item] = 1
    assert left.shape == (150, 64) and right.shape == (156, 64)
    np.testing.assert_allclose((left @ right.T).numpy(), dense, atol=1e-3)
