"""Ctrl-C in an embedding job says how to go on; exit code and MLflow's KILLED are those of every job."""

from __future__ import annotations

import pytest

from bifair_dist.embedding import on_ray
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import Interrupted


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(settings: EmbedSettings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(on_ray, "make_job", stopped)
    with pytest.raises(Interrupted, match="the same command goes on with the items that are missing"):
        on_ray.embed_catalogue(EmbedSettings(engine="sentence-transformers"))
