"""From bytes to Arrow text columns: the one way by which every source, and jobs/evaluate.py, reads a file."""

from bifair_dist.data.reading.columns import Columns, count_wanted
from bifair_dist.data.reading.delimited import Layout
from bifair_dist.data.reading.files import first_line, read_lines, visible
from bifair_dist.data.reading.notes import Notes
from bifair_dist.data.reading.table import beside, column_names, find_table, read_table

__all__ = [
    "Columns",
    "Layout",
    "Notes",
    "beside",
    "column_names",
    "count_wanted",
    "find_table",
    "first_line",
    "read_lines",
    "read_table",
    "visible",
]
