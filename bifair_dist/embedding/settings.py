"""The embedding job: item texts to item vectors, and what is done with vectors that are there."""

from __future__ import annotations

from typing import Literal

from bifair_dist.errors import UserError
from bifair_dist.settings import Settings, section, setting
from bifair_dist.tracking_settings import TrackingSettings


class EmbedSettings(Settings):
    """Embedding of one dataset with one language model."""

    dataset: str = setting("", "dataset folder, as jobs/prepare.py writes it", unit="path")
    output: str = setting(
        "", "representations folder to write; the same command goes on where one stopped", unit="path"
    )
    model: str = setting(
        "minilm",
        "a preset (jobs/embed.py plan lists them), a local model folder, or a hub id",
        unit="name",
        why="its weights come in a package, so nothing is fetched from a hub",
    )
    revision: str = setting("", "revision of a hub model; empty: the hub's default", unit="name")
    engine: Literal["vllm", "sentence-transformers"] = setting(
        "vllm", "what runs the model", why="batches continuously and shards large models over GPUs"
    )
    template: str = setting(
        "{title}", "text of an item, columns of items.parquet in braces", unit="text", why="every dataset has titles"
    )
    prompt: str = setting(
        "model",
        "text put before every item's, such as an instruction; model: what the preset or the model's own "
        "files say; none, or empty: nothing",
        unit="text",
        why="a model trained with an instruction wants it",
    )
    max_tokens: int = setting(
        0,
        "tokens of a text that are read, the rest is cut off; 0: the preset's or the model's",
        unit="tokens",
        why="what the model was trained on",
        ge=0,
    )
    pooling: Literal["model", "mean", "last", "cls"] = setting(
        "model",
        "how token vectors become one; model: as the preset or the model's own files say",
        why="another pooling than the model was trained with costs quality",
    )
    normalise: bool = setting(True, "scale every vector to length 1", why="these models are trained on the cosine")
    width: int = setting(
        0,
        "columns kept, from the first on (Matryoshka models); 0: all",
        unit="columns",
        why="not every model can",
        ge=0,
    )
    dtype: Literal["float32", "float16", "bfloat16"] = setting(
        "float32", "number format of the stored vectors", why="nothing is lost; the others halve the disk"
    )
    compute_dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto", "number format inside the model; auto: the model's own, float32 on a CPU", why="as it was trained"
    )
    replicas: int = setting(1, "copies of the model, each an actor of its own", why="one fits everywhere", ge=1)
    cpus: int = setting(1, "CPU cores of a replica", unit="cores", why="leaves the others to the replicas", ge=1)
    gpus: float | None = setting(
        None,
        "GPUs of a replica, before tensor parallelism; none: 1 where Ray sees any, else 0",
        unit="GPUs",
        why="what the machine has",
        ge=0,
    )
    tensor_parallel: int = setting(
        1, "GPUs that one copy of the model is split over", unit="GPUs", why="up to 7B fits one GPU", ge=1
    )
    batch: int = setting(
        256,
        "items handed to a replica at once",
        unit="items",
        why="keeps the engine full, costs little when lost",
        ge=1,
    )
    shard_rows: int = setting(
        0,
        "items in a Parquet shard; 0: about 256 MiB of vectors",
        unit="items",
        why="few files, each easy to move",
        ge=0,
    )
    retries: int = setting(2, "further tries of an item that failed", unit="tries", why="faults pass", ge=0)
    accept_failures: int = setting(
        0,
        "items that may fail; with more, the job ends with an error and no folder is completed",
        unit="items",
        why="the trainer needs a vector for every item",
        ge=0,
    )
    trust_remote_code: bool = setting(
        False, "let a hub model run code of its own", why="code from outside runs with your rights"
    )
    tracking: TrackingSettings = section(TrackingSettings)

    def check(self) -> None:
        """GPU shares of a replica are whole where the model is split over several."""
        if self.tensor_parallel > 1 and self.gpus not in (None, 1.0):
            raise UserError("gpus: with --tensor_parallel above 1 every part of the model has one whole GPU")


class VerifySettings(Settings):
    """Check of a representations folder (`jobs/embed.py verify`)."""

    output: str = setting("", "representations folder to check", unit="path")
    dataset: str = setting("", "dataset folder it belongs to; empty: the one in its manifest", unit="path")
    sample: int = setting(
        32,
        "items embedded again and compared; 0: none",
        unit="items",
        why="seconds, and a wrong model shows at once",
        ge=0,
    )


class ImportSettings(Settings):
    """Vectors made elsewhere, taken in (`jobs/embed.py import`)."""

    dataset: str = setting("", "dataset folder the vectors belong to", unit="path")
    vectors: str = setting("", ".npy, .parquet or .safetensors file, or a folder of .parquet files", unit="path")
    ids: str = setting(
        "", "item ids of the rows, one a line; empty: in the file itself (see docs/files.md)", unit="path"
    )
    output: str = setting("", "representations folder to write; must not exist", unit="path")
    model: str = setting("imported", "name of the model that made them, for the manifest", unit="name")
    normalise: bool = setting(False, "scale every vector to length 1", why="they are taken as they are")
    dtype: Literal["keep", "float32", "float16", "bfloat16"] = setting("keep", "number format of the stored vectors")


class ProbeSettings(Settings):
    """How well frozen vectors alone find a user's held-out items, by group (`jobs/embed.py probe`)."""

    dataset: str = setting("", "dataset folder", unit="path")
    representations: tuple[str, ...] = setting((), "representations folders to compare, with commas", unit="paths")
    k: int = setting(20, "length of the lists", unit="items", why="the usual one", ge=1)
    split: Literal["valid", "test"] = setting("valid", "pairs to find again", why="test is for final figures")
    output: str = setting("", "JSON file to write beside what is printed; empty: none", unit="path")
