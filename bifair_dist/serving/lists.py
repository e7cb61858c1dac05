"""`jobs/recommend.py`: lists of a finished run as a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bifair_dist.errors import UserError
from bifair_dist.files import writing
from bifair_dist.runs import Run
from bifair_dist.serving.from_run import recommender_of
from bifair_dist.serving.settings import RecommendSettings


def write_lists(settings: RecommendSettings) -> pd.DataFrame:
    """Rank, write the file, return its rows. One process, which holds all vectors. Raises `UserError`."""
    run, output = Run.finished_in(settings.run, "run"), Path(settings.output)
    if output.suffix not in (".parquet", ".csv"):
        raise UserError(f"output: {settings.output}: end it in .parquet or .csv")
    if output.exists() and not settings.overwrite:
        raise UserError(f"output: {output} is there already; choose another name, or --overwrite yes")
    users, source = _users(settings)
    table = recommender_of(run.folder).recommend(users or None, settings.k, exclude=settings.exclude, source=source)
    try:
        with writing(output) as part:
            if output.suffix == ".csv":
                table.to_csv(part, index=False)
            else:
                table.to_parquet(part, index=False)
    except OSError as error:
        raise UserError(f"output: {output}: {error.strerror}") from None
    print(f"{table['user_id'].nunique():,} users, {len(table):,} rows: {output}", flush=True)
    return table


def _users(settings: RecommendSettings) -> tuple[list[str], str]:
    """Ids asked for, none: everybody; and where a wrong one came from."""
    asked = list(settings.users)
    if not settings.users_file:
        return asked, "users"
    try:
        lines = Path(settings.users_file).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"users_file: {settings.users_file}: {error.strerror}") from None
    asked += [line.removesuffix("\r") for line in lines if line.strip()]
    if not asked:
        raise UserError(f"users_file: {settings.users_file}: no ids in it")
    return asked, settings.users_file
