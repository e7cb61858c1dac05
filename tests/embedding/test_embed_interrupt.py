"""Ctrl-C in an embedding job says how to go on; exit code and MLflow's KILLED are those of every job."""

from __future__ import annotations

import pytest

from bifair_dist.embedding import on_ray
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import Interrupted


@pytest.mark.parametrize(("replicas", "stage"), [(1, "embed_here"), (2, "make_job")])
def test_ctrl_c_says_how_to_go_on(replicas: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and where Ray would be started."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(on_ray, stage, stopped)
    with pytest.raises(Interrupted, match="the same command goes on with the items that are missing"):
        on_ray.embed_catalogue(EmbedSettings(engine="sentence-transformers", replicas=replicas))
