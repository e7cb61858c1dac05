"""The example table of docs/bytes.md follows from the formulas that `test_world_size.py` holds against what is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from byte_formulas import step_bytes
from world import Case

from bifair_dist.parallel.sampler import slices_of

EXAMPLE = Case(
    n_items=200_000, n_users=300_000, d=3072, h=1536, k=64, batch_size=4096, negatives=256, n_groups=9, strength=0.3,
    refresh=2,
)  # fmt: skip
TAGS = ("pool", "nodes", "batch", "gram", "theta", "v")


def example(users: str, count: int, size: int) -> dict[str, int]:
    """Largest number of bytes that a worker sends, by tag, in a step with (count 0) or without new weights."""
    case = Case(**{name: getattr(EXAMPLE, name) for name in EXAMPLE.__slots__} | {"users": users})
    examples = [stop - start for start, stop in slices_of(case.batch_size, size)]
    ranks = [step_bytes(case, size, r, examples, count, 4, examples) for r in range(size)]
    worst = {tag: max(r.get(tag, 0) for r in ranks) for tag in TAGS}
    return worst | {"total": max(sum(r.values()) for r in ranks)}


def row(users: str, count: int, size: int) -> str:
    values = example(users, count, size)
    cells = [f"{values[tag] / 1e6:,.1f}" for tag in ("pool", "gram", "total")]
    return f"| {size} | {users} | {'yes' if count == 0 else 'no'} | {' | '.join(cells)} |"


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("users", ["follow", "frozen"])
def test_table(users: str, size: int) -> None:
    text = (Path(__file__).parents[2] / "docs" / "bytes.md").read_text(encoding="utf-8")
    assert row(users, 0, size) in text and row(users, 1, size) in text


if __name__ == "__main__":
    for size in (2, 8):
        for users in ("follow", "frozen"):
            for count in (1, 0):
                print(row(users, count, size))
