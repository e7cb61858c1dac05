"""The fairness report: `report.html` for a person, `report.json` for a program, of one finished run or of several."""

from __future__ import annotations

from pathlib import Path

from bifair_dist.errors import UserError
from bifair_dist.files import write_json
from bifair_dist.report.content import content_of
from bifair_dist.report.page import write_page
from bifair_dist.report.run_files import read_run
from bifair_dist.report.sections import shown
from bifair_dist.report.settings import ReportSettings
from bifair_dist.tracking import add_artifacts
from bifair_dist.training.settings import TrainSettings

PAGE, DATA = "report.html", "report.json"


def make_report(settings: ReportSettings) -> Path:
    """Read the runs, write both files, say where the page is; returns its path. Raises `UserError`."""
    if not settings.runs:
        raise UserError("no run given: python jobs/report.py RUN [RUN ...]")
    folders = [Path(run).expanduser() for run in settings.runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is given twice; name each folder once")
    page = (
        Path(settings.output).expanduser() if settings.output else (folders[0] if len(folders) == 1 else Path()) / PAGE
    )
    if page.suffix != ".html":
        raise UserError(f"output: {settings.output}: end it in .html")
    content = content_of([read_run(folder) for folder in folders], settings)
    try:
        write_json(page.with_suffix(".json"), content, indent=1)
        write_page(page, "report.html.jinja", **shown(content))
    except OSError as error:
        raise UserError(f"output: {page}: cannot be written ({error.strerror})") from None
    print(f"report: {page}", flush=True)
    return page


def report_of_training(settings: TrainSettings, folder: Path) -> None:
    """The report in the folder of a run that has just ended. Never raises: the run is there, whatever comes of this."""
    if not settings.training.report:
        return
    try:
        make_report(ReportSettings(runs=(str(folder),)))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        print(f"warning: no report was written: {reason} (jobs/report.py tries again)", flush=True)
    else:
        add_artifacts(settings.tracking, folder, (PAGE, DATA))
