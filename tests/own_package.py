"""A page of docs/ whose module and entry point are installed as somebody else's package would be."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(page: str, site: Path) -> dict[str, str]:
    """Install what docs/`page` shows into the folder `site`; the environment in which it is found."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    module, entry = re.findall(r"```(?:python|toml)\n(.*?)```", text, re.S)
    name = re.findall(r"# (\w+)\.py", module)[0]
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}.py").write_text(module)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    points = re.sub(r'project\.entry-points\."(.*?)"', r"\1", entry).replace('"', "")
    (info / "entry_points.txt").write_text(points)
    return {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
