"""The page docs/add-a-source.md holds: its module, installed beside the package, is a source of jobs/prepare.py."""

import subprocess
import sys
from pathlib import Path

from bifair_dist.data.dataset import read_dataset
from tests.own_package import ROOT, install


def test_source_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    environment = install("add-a-source.md", tmp_path / "site")
    raw = tmp_path / "raw"
    raw.mkdir()
    pairs = "".join(f"u{u},i{i}\n" for u in range(12) for i in range(12) if (u + i) % 3)
    (raw / "sales.csv").write_text("user_id,item_id\n" + pairs)
    (raw / "goods.csv").write_text("item_id,title\n" + "".join(f"i{i},Thing {i}\n" for i in range(12)))
    job = [sys.executable, str(ROOT / "jobs" / "prepare.py"), "--source", "shop", "--input", str(raw)]
    out = tmp_path / "out"
    done = subprocess.run(
        [*job, "--out", str(out), "--k-core", "2"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = read_dataset(out)
    splits = (made.train, made.valid, made.test)
    got = {(made.user_ids[u], made.item_ids[i]) for s in splits for u, i in zip(s.user, s.item, strict=True)}
    assert got == {tuple(line.split(",")) for line in pairs.split()}
    assert dict(zip(made.item_ids, made.titles, strict=True)) == {f"i{i}": f"Thing {i}" for i in range(12)}
