"""The table printed at the end, for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bifair_dist.data.dataset import SPLITS


def summary(manifest: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    """How the input was read, counts, splits, group sizes, seconds and warnings of a manifest, as lines of text."""
    counts = manifest["counts"]
    lines = [
        *(f"read: {line}" for line in manifest["read"].get("as", ())),
        f"{'users':<12}{counts['users']:>12,}",
        f"{'items':<12}{counts['items']:>12,}",
        f"{'pairs':<12}{counts['pairs']:>12,}   density {counts['density']:.3%}",
        *(f"  {s:<10}{counts[s]:>12,}   {counts[s] / counts['pairs']:6.1%}" for s in SPLITS),
    ]
    for name, about in manifest["groups"].items():
        head = f"groups '{name}'"
        lines.append(f"{head:<36.36}{about['entity'] + 's':>8}")
        lines += [f"  {label:<34.34}{size:>8,}" for label, size in zip(about["labels"], about["sizes"], strict=True)]
    lines += [f"warning: {line}" for line in manifest.get("warnings", ())]
    lines.append(f"{'seconds':<12}{sum(seconds.values()):>12.1f}")
    return "\n".join(lines)
