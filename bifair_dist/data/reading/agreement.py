"""Parts of one table, checked alone, must have been read alike: one id or one time read in two ways is a wrong dataset.

Whether whole numbers are written as floats, and whether dates have fractions of a second, is seen part by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.reading.checks import FLOAT_ID
from bifair_dist.data.reading.columns import Columns
from bifair_dist.errors import UserError

TIME = 1e8
"""Seconds since 1970 above this are later than 1973; microseconds of the same years are 10^6 times as many."""


def refuse_two_readings(path: Path, parts: Sequence[pa.Table], wanted: Columns) -> None:
    """Raise `UserError` where parts of `path` write one id as `7` and as `7.0`, or times in two units."""
    for name in set.intersection(*(set(part.column_names) for part in parts)):
        if name in wanted.keys:
            _one_form(path, name, [part[name] for part in parts])
        elif name == "timestamp" and name in wanted.numbers:
            _one_unit(path, name, [part[name] for part in parts])


def _one_form(path: Path, name: str, columns: Sequence[pa.ChunkedArray]) -> None:
    found = pa.concat_arrays([pc.unique(column).cast(pa.string()) for column in columns])
    floats = found.filter(pc.match_substring_regex(found, FLOAT_ID))
    both = floats.filter(pc.is_in(pc.replace_substring_regex(floats, FLOAT_ID, r"\1"), found))
    if len(both):
        whole = pc.replace_substring_regex(both, FLOAT_ID, r"\1")[0]
        raise UserError(
            f"{path}: {name} is '{whole}' in one part and '{both[0]}' in another; write its numbers alike in all parts"
        )


def _one_unit(path: Path, name: str, columns: Sequence[pa.ChunkedArray]) -> None:
    typical = [float(np.median(np.abs(column.to_numpy()))) for column in columns]
    least, most = min(typical), max(typical)
    if least > TIME and most / least > 100:
        raise UserError(
            f"{path}: {name} is about {least:.3g} in one part and {most:.3g} in another; write it in one unit, dates "
            "with fractions of a second in all parts or in none"
        )
