"""A short name for what the numbers of a training depend on, so that the same training is not run twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bifair_dist.settings import earlier_names, flatten
from bifair_dist.training.provenance import data_checksums
from bifair_dist.training.run_folder import free_settings
from bifair_dist.training.settings import TrainSettings


def identity(settings: TrainSettings) -> str:
    """12 hexadecimal digits of settings and data: equal only where the results are, up to rounding.

    Data count by the checksums in their manifests, not by their place; the run that a run starts from counts by its
    folder's name. Settings of fair phases do not count for a method that has none.
    """
    free = free_settings(settings)
    # Under the names that these settings first had, so that a renamed setting changes no identity.
    first = {now: was for was, now in earlier_names(TrainSettings).items()}
    depends = {first.get(k, k): v for k, v in flatten(settings).items() if not k.startswith(free)}
    depends |= {"data.representations": None, **data_checksums(settings)}  # those that are not read do not count
    depends["training.warm_start"] = Path(settings.training.warm_start).name
    return hashlib.blake2b(json.dumps(depends, sort_keys=True).encode(), digest_size=6).hexdigest()
