"""The report of finished runs: its figures, its safety, what it refuses."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from small_runs import Small, make_small, metrics_of, run
from strange_texts import EVIL, LABEL, NAME

from bifair_dist.after_training import publish
from bifair_dist.errors import UserError
from bifair_dist.report import measured, report
from bifair_dist.report.settings import ReportSettings
from bifair_dist.settings import load
from bifair_dist.training import launch
from bifair_dist.training.lease import Owner
from bifair_dist.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]


def written(output: Path, *runs: Path) -> tuple[dict[str, Any], str]:
    """report.json and report.html of these runs."""
    words = tuple(map(str, runs))
    page = report.make_report(ReportSettings(runs=words, output=str(output / "report.html"), replicates=50))
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


def copied(done: Path, tmp_path: Path) -> Path:
    """A copy of a run that may be spoilt."""
    return Path(shutil.copytree(done, tmp_path / "run"))


def test_figures_are_those_of_metrics_json(done: Path) -> None:
    """The training wrote both files."""
    (entry,) = json.loads((done / "report.json").read_text())["runs"]
    metrics = metrics_of(done)
    assert (entry["test"], entry["valid"], entry["before"]) == (metrics["test"], metrics["valid"], metrics["before"])
    intervals, test = entry["intervals"], entry["test"]
    assert intervals["of_users"] == intervals["users"] == test["users"]
    for which, figures in (("after", test), ("before", metrics["before"]["test"])):
        low, high = intervals[which]["recall@20"]
        assert low < figures["recall@20"] < high
        low, high = intervals[which]["groups"]["genre"]["cv"]
        assert low < high
    low, high = intervals["change"]["recall@20"]
    assert low < test["recall@20"] / metrics["before"]["test"]["recall@20"] - 1 < high
    page = (done / "report.html").read_text()
    for value in (test["recall@20"], test["groups"]["genre"]["cv"], metrics["before"]["test"]["ndcg@20"]):
        assert f"{value:.4f}" in page


def test_sizes_losses_weights_and_origin_are_there(done: Path, small: Small) -> None:
    content = json.loads((done / "report.json").read_text())
    (entry,) = content["runs"]
    genre = content["dataset"]["groups"]["genre"]
    assert sum(genre["sizes"].values()) >= content["dataset"]["items"] and min(genre["sizes"].values()) > 0
    assert sum(genre["pair_share"].values()) >= 0.999
    fair = [r for r in entry["history"] if r["phase"] == "bilevel"]
    assert len(fair) == 2
    for record in fair:
        assert sum(record["weights"]) == pytest.approx(1)
        assert len(record["group_losses"]) == len(genre["sizes"]) and all(loss > 0 for loss in record["group_losses"])
    origin = entry["provenance"]
    manifests = {"data.dataset": small.dataset, "data.representations": small.representations}
    assert origin["data"] == {key: measured_sha(folder / "manifest.json") for key, folder in manifests.items()}
    assert entry["config"]["bilevel.eta"] == entry["changed_settings"]["bilevel.eta"] == 0.05
    assert "training.patience" not in entry["changed_settings"]
    assert entry["notes"] == []


def measured_sha(path: Path) -> str:
    return subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


class Tags(HTMLParser):
    """Elements of a page with their attributes; its texts, those of figures by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.drawn: list[str] = []
        self._in_figure = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_figure |= tag == "svg"

    def handle_endtag(self, tag: str) -> None:
        self._in_figure &= tag != "svg"

    def handle_data(self, data: str) -> None:
        (self.drawn if self._in_figure else self.texts).append(data.strip())


def test_text_of_the_data_is_text(done: Path) -> None:
    page = (done / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.found}
    assert not names & {"script", "b", "i"}
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert any(EVIL in text for text in tags.texts)
    assert LABEL in tags.texts and LABEL in tags.drawn  # dollars and all: no mathematics
    assert any(NAME in text for text in tags.texts)
    assert any(NAME in (attributes.get("aria-label") or "") for tag, attributes in tags.found if tag == "svg")


def test_the_page_loads_nothing(done: Path) -> None:
    page = (done / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!#)|@import|<link|<img|<iframe|<object|<base", page)
    tags = Tags()
    tags.feed(page)
    for _, attributes in tags.found:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    for address in re.findall(r"https?://[^\s\"'<]+", page):
        assert address.startswith("http://www.w3.org/")  # names of XML's namespaces


def test_no_two_figures_share_an_id(done: Path) -> None:
    tags = Tags()
    tags.feed((done / "report.html").read_text())
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert ids and len(ids) == len(set(ids))


def test_several_runs_stand_side_by_side(done: Path, plain: Path, tmp_path: Path) -> None:
    content, page = written(tmp_path, done, plain)
    assert [entry["name"] for entry in content["runs"]] == [NAME, "plain"]
    assert 'aria-label="all runs: recall@20 against CV of genre"' in page
    assert page.count("<details><summary>1. ") == page.count("<details><summary>2. ") == 1
    best = max(content["runs"], key=lambda entry: entry["test"]["recall@20"])
    lead = re.search('<p class="lead">(.*?)</p>', page)
    assert lead is not None
    said = f"{html.escape(best['name'])} has (both )?the highest recall@20 .{best['test']['recall@20']:.4f}"
    assert re.search(said, lead[1])
    assert content["runs"][1]["before"] is None and content["runs"][1]["drift"]["all"]["p90"] == 0


def test_a_run_without_item_vectors_of_its_own(small: Small, tmp_path: Path) -> None:
    """Id embeddings begin at random: no drift, and no figures before."""
    folder = run(small, tmp_path / "runs", {"training.method": "mf", "training.report": True})
    (entry,) = json.loads((folder / "report.json").read_text())["runs"]
    assert entry["drift"] is None and entry["before"] is None and entry["notes"] == []
    assert entry["headline"][0].startswith("Recall@20 is ")


def test_what_a_run_does_not_have_is_left_out_and_told(done: Path, small: Small, tmp_path: Path) -> None:
    run_ = copied(done, tmp_path)
    (run_ / "recommendations_before.parquet").unlink()
    (run_ / "provenance.json").unlink()
    settings = ReportSettings(runs=(str(run_),), representations=str(tmp_path / "gone"), replicates=20)
    (entry,) = json.loads(report.make_report(settings).with_suffix(".json").read_text())["runs"]
    assert entry["intervals"]["change"] is None and entry["drift"] is None
    assert len(entry["notes"]) == 2


def test_data_that_changed_since_are_told(done: Path, tmp_path: Path) -> None:
    run_ = copied(done, tmp_path)
    record = json.loads((run_ / "provenance.json").read_text())
    record["data"]["data.dataset"] = "0" * 64
    (run_ / "provenance.json").write_text(json.dumps(record))
    metrics = metrics_of(run_)
    metrics["test"]["recall@20"] += 0.01
    (run_ / "metrics.json").write_text(json.dumps(metrics))
    content, page = written(tmp_path, run_)
    notes = content["runs"][0]["notes"]
    assert len(notes) == 2 and "recall@20" in notes[0] and "data.dataset" in notes[1]
    assert page.count('class="note"') == 2


def test_of_many_users_a_part_is_read(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads((done / "report.json").read_text())
    monkeypatch.setattr(measured, "MOST_USERS", 50)
    monkeypatch.setattr(measured, "BATCH", 100)
    part, _ = written(tmp_path, done)
    about = part["runs"][0]["intervals"]
    assert 40 <= about["users"] <= 50 < about["of_users"] == whole["runs"][0]["intervals"]["users"]
    assert "evenly spaced" in part["runs"][0]["notes"][0]
    low, high = about["after"]["recall@20"]
    assert low < whole["runs"][0]["test"]["recall@20"] < high  # of three times fewer users, and still about it


def test_the_trainers_warnings_are_on_the_page(done: Path, tmp_path: Path) -> None:
    run_ = copied(done, tmp_path)
    with (run_ / "train.log").open("a") as log:
        log.write("  warning: the loss climbs <fast>\n")
    content, page = written(tmp_path, run_)
    assert content["runs"][0]["warnings"] == ["the loss climbs <fast>"]
    assert "The trainer warned: the loss climbs &lt;fast&gt;" in page


def test_a_report_that_fails_does_not_lose_the_run(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such\nthing")

    monkeypatch.setattr(report, "content_of", broken)
    begun = launch.Begun(
        load(TrainSettings(), done / "config.yaml"), done, Owner("t", 1, "here", "b", 1, "0", 0.0), new=True
    )
    launch._conclude(begun, 1.0, publish)
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if "warning" in line] == [
        "warning: no report was written: no such (jobs/report.py tries again)"
    ]
    assert out[-1].startswith("finished in 1.0 s")


def test_bad_input_is_one_line(done: Path, plain: Path, tmp_path: Path) -> None:
    unfinished = copied(done, tmp_path)
    (unfinished / "metrics.json").unlink()
    other = run(make_small(tmp_path / "other"), tmp_path / "other" / "runs", {"training.method": "alpharec"})
    spoilt = Path(shutil.copytree(plain, tmp_path / "spoilt"))
    (spoilt / "metrics.json").write_text("{")
    for runs, said in {
        (tmp_path,): "no run folder",
        (unfinished,): "not finished",
        (done, done): "given twice",
        (done, other): "different datasets",
        (spoilt,): "not valid JSON",
        (): "no run given",
    }.items():
        with pytest.raises(UserError, match=said) as error:
            written(tmp_path, *runs)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_the_job_ends_with_a_code(tmp_path: Path) -> None:
    command = [sys.executable, "jobs/report.py", str(tmp_path), "--replicates", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == f"error: '{tmp_path}' is no run folder (it has no config.yaml); give the folder of a run\n"
