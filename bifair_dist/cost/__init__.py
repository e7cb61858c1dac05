"""One training step in numbers: its bytes, operations and seconds, from its sizes alone."""
