"""MLflow: one run for each training, written by rank 0 only; the run's id is kept in the run folder.

A restart finds the id and goes on in the same run: parameters that are there are not written again, and metric points
at steps that were already written are left out. Without a URI, records are an SQLite file and a folder of artifacts,
both in the output folder.
"""

from bifair_dist.tracking.run_folder import (
    RUN_ID_FILE,
    add_artifacts,
    close_tracker,
    open_child,
    open_tracker,
    tag_run,
    tracking_uri,
)
from bifair_dist.tracking.tracker import Tracker, safe_name

__all__ = [
    "RUN_ID_FILE",
    "Tracker",
    "add_artifacts",
    "close_tracker",
    "open_child",
    "open_tracker",
    "safe_name",
    "tag_run",
    "tracking_uri",
]
