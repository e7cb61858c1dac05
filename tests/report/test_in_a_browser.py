"""The page in a real browser, at the width of a telephone and of a desk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bifair_dist.report.report import make_report
from bifair_dist.report.settings import ReportSettings

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
WIDTHS = (400, 1400)

# Each page in a frame of each width, everything unfolded; then what stands out of it. Only with
# --allow-file-access-from-files may a page look into frames of files.
HARNESS = """<!doctype html><meta charset="utf-8"><body><pre id="out"></pre><script>
const found = [];
const frames = FRAMES.map(([address, width]) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border: 0; width: ${width}px; height: 900px`; frame.src = address;
  document.body.append(frame);
  return new Promise(done => frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement, outside = [];
    page.querySelectorAll("details").forEach(d => d.open = true);
    for (const text of page.querySelectorAll("svg text, p, h1, h2, h3, li, summary")) {
      const box = text.getBoundingClientRect();
      if (box.width && (box.left < 0 || box.right > root.clientWidth + 0.5)) outside.push(text.textContent);
    }
    const heights = [...page.querySelectorAll("svg text")].map(t => t.getBoundingClientRect().height);
    found.push({width, scroll: root.scrollWidth, inner: frame.contentWindow.innerWidth, outside,
                loaded: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
                svgs: page.querySelectorAll("svg").length, smallest: Math.min(...heights)});
    done();
  });
});
Promise.all(frames).then(() => document.getElementById("out").textContent = JSON.stringify(found));
</script>"""


@pytest.mark.skipif(not BROWSER, reason="no chromium or google-chrome on this machine")
def test_nothing_sticks_out_and_nothing_complains(done: Path, plain: Path, tmp_path: Path) -> None:
    both = make_report(ReportSettings(runs=(str(done), str(plain)), output=str(tmp_path / "both.html"), replicates=20))
    alone = Path(shutil.copy(done / "report.html", tmp_path / "alone.html"))
    frames = [(page.as_uri(), width) for page in (alone, both) for width in WIDTHS]
    (tmp_path / "harness.html").write_text(HARNESS.replace("FRAMES", json.dumps(frames)))
    found, complaints = opened(tmp_path / "harness.html", tmp_path / "profile")
    assert not complaints
    assert sorted(frame["width"] for frame in found) == sorted(2 * WIDTHS)
    for frame in found:
        assert frame["inner"] == frame["width"]
        assert frame["scroll"] <= frame["inner"], frame
        assert frame["outside"] == [] and frame["loaded"] == []
        assert frame["svgs"] >= 5
        assert frame["smallest"] >= 8  # pixels: text in a figure that can be read on a telephone, too


def opened(page: Path, profile: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What the harness wrote, and the console's lines."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="out">(.*?)</pre>', ended.stdout, re.DOTALL)
    assert match is not None and match[1], ended.stderr[-2000:]
    return json.loads(html.unescape(match[1])), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
