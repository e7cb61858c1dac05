"""Imports go down only, also those inside functions, and no two packages import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "bifair_dist"
LAYERS = (
    ("errors", "csr", "files", "progress", "settings", "labels", "compat", "commit", "command_line", "hardware"),
    ("cost",),
    ("tracking_settings",),
    ("tracking", "runs", "data", "workers"),
    ("evaluation", "parallel", "model", "bilevel"),
    ("embedding",),
    ("training",),
    ("planning", "report", "serving"),
    ("experiments", "after_training"),
    ("rerank",),
    ("api",),
)
"""From the bottom. Packages of one layer may use each other; those above it may not be used."""
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "bifair_dist":
                names = [f"bifair_dist.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("bifair_dist.") and "__" not in name)


def test_imports_go_down_only() -> None:
    found = set()
    uses: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        own = place.parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for other in set(imported(ast.parse(path.read_text(encoding="utf-8")))) - {own}:
            uses.setdefault(own, set()).add(other)
            if RANK[other] > RANK[own]:
                found.add((str(place), other))
    cycles = {(a, b) for a in uses for b in uses[a] if a < b and a in uses.get(b, set())}
    assert not found, f"imports from a layer above: {sorted(found)}"
    assert not cycles, f"two packages that import each other: {sorted(cycles)}"
