"""Where the data and the item vectors come from."""

from __future__ import annotations

from bifair_dist.settings import Settings, setting


class DataSettings(Settings):
    """Dataset and item representations, each a folder."""

    dataset: str = setting(
        "",
        "dataset folder, as jobs/prepare.py writes it; empty: a generated catalogue with planted unfairness",
        unit="path",
        why="the first run needs no data of your own",
    )
    representations: str = setting(
        "",
        "folder of item vectors, as jobs/embed.py writes it; empty: MiniLM vectors, cached",
        unit="path",
        why="MiniLM comes as a package, so nothing is downloaded from a model hub",
    )
    cache: str = setting(
        "~/.cache/bifair_dist",
        "folder for the generated catalogue and for encoded texts; several machines need one they all see",
        unit="path",
        why="outside the run folders, so that runs share it",
    )
    template: str = setting(
        "{title}",
        "text given to the encoder, with the columns of items.parquet in braces",
        unit="text",
        why="titles are the one column that every dataset has",
    )
    embed_threads: int = setting(
        0,
        "CPU threads of the encoder; 0: all cores, or OMP_NUM_THREADS",
        unit="threads",
        why="nothing else runs meanwhile",
        ge=0,
    )
