"""Encode a dataset's items with MiniLM: `python -m bifair_dist.embedding --dataset FOLDER --output FOLDER`."""

from __future__ import annotations

from dataclasses import dataclass

from bifair_dist.config import Settings, parse, setting
from bifair_dist.errors import UserError, run_job


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedSettings(Settings):
    """Encoding of one dataset."""

    dataset: str = setting("", "dataset folder, as jobs/prepare.py writes it", unit="path")
    output: str = setting("", "representations folder to write; must not exist", unit="path")
    template: str = setting(
        "{title}", "text of an item, columns of items.parquet in braces", why="every dataset has it"
    )
    threads: int = setting(
        0,
        "CPU threads; 0: all cores, or OMP_NUM_THREADS",
        unit="threads",
        why="nothing else runs meanwhile",
        at_least=0,
    )


def main() -> None:
    """Read, encode, write."""
    settings = parse(EmbedSettings(), description=__doc__ or "")
    for name in ("dataset", "output"):
        if not getattr(settings, name):
            raise UserError(f"--{name} FOLDER is missing")
    from bifair_dist.catalog.dataset import read_dataset
    from bifair_dist.embedding.minilm import embed

    folder = embed(
        read_dataset(settings.dataset), settings.output, template=settings.template, threads=settings.threads
    )
    print(f"wrote {folder}")


if __name__ == "__main__":
    run_job(main)
