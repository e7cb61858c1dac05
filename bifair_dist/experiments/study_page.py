"""`report.html`, `tables.md`, `trials.parquet` and drawings of a study: what there is so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bifair_dist.data.dataset import Dataset
from bifair_dist.evaluation.many_comparisons import RATE
from bifair_dist.experiments import plots
from bifair_dist.experiments.definition import Study
from bifair_dist.experiments.page import tested
from bifair_dist.experiments.search import Search
from bifair_dist.experiments.table import Entry, corrected, entries_of, markdown, write_study_trials
from bifair_dist.experiments.trial import file_name
from bifair_dist.report.page import Part, write_page
from bifair_dist.report.svg import write_svg

POINTS = "Validation, first seed: all points; lines join a method's front. Best: below right."
CHOSEN = "Test, mean and standard deviation over seeds, at the point chosen on validation."
DRAWINGS = (("validation", plots.points_figure, POINTS), ("test", plots.chosen_figure, CHOSEN))


def tell(
    study: Study, datasets: Mapping[str, Dataset], searches: Sequence[Search], folder: Path, replicates: int
) -> None:
    """Write the files and print the tables."""
    tables: dict[tuple[str, str], list[Entry]] = {}
    for data, group in [(part.name, group) for part in study.datasets for group in part.groups]:
        mine = [s for s in searches if (s.dataset, s.group) == (data, group)]
        for search in mine:
            search.chosen = [trial for trial in search.chosen if trial.finished]
        if mine := [search for search in mine if search.chosen]:
            tables[data, group] = entries_of(mine, study.reference, datasets[data], replicates)
    lines, parts = [f"# {study.name}", "", study.about], []
    for (data, group), entries in zip(tables, corrected([*tables.values()], study.reference), strict=True):
        lines += markdown(f"{data}, {group}", entries, study.reference)
        parts.append(_part(study, data, group, entries, folder))
    write_study_trials(folder / "trials.parquet", searches)
    text = "\n".join([*lines, "", note(study)]) + "\n"
    (folder / "tables.md").write_text(text, encoding="utf-8")
    title, lead = f"Study: {study.name}", [study.about, note(study)]
    write_page(folder / "report.html", "parts.html.jinja", title=title, lead=lead, parts=parts)
    print(f"\n{text}\neverything is in {folder}: report.html, tables.md, trials.parquet, figures", flush=True)


def _part(study: Study, data: str, group: str, entries: Sequence[Entry], folder: Path) -> Part:
    part = tested(f"{data}, {group}", entries, study.reference, folder)
    if len(entries) <= len(plots.marks(entries, study.reference)):
        for split, draw, caption in DRAWINGS:
            picture = draw(f"{data}, {group}: {split}", entries, study.reference, group)
            part.figures.append((picture, caption))
            write_svg(folder / "figures" / f"{file_name(f'{data}-{group}')}-{split}.svg", picture)
    return part


def note(study: Study) -> str:
    """How the tables are to be read."""
    return (
        f"Test figures at the point chosen on validation with seed {study.seeds[0]}: least CV where recall and NDCG "
        f"keep {100 * study.keep:g} % of {study.reference}'s, by which each training keeps its state, too; for plain "
        f"losses highest recall. Mean ± standard deviation over seeds, change against {study.reference} with the same "
        "seeds and its paired 95 % bootstrap interval over users and seeds; * where that leaves out zero, ** where it "
        f"also differs among all comparisons of this study (Benjamini-Hochberg, false discovery rate {RATE:g}). "
        "Hypervolume: area that the states between the reference's and the fair end dominate on validation, from 95 % "
        "of its recall and below its CV, as shares, mean over seeds. On the front: of the points tried, those that no "
        "point of any method beats in validation recall and CV. Epochs used: "
        "of the most that a phase may have."
    )
