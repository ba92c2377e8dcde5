"""A run's report: what its folder holds, gathered section by section and written as one page."""

import datetime
from pathlib import Path

from src.config.request import Request
from src.core.console import Bar, log, silenced
from src.core.locks import only_one
from src.inference.external_runs import is_external
from src.reporting.page.blocks import Page
from src.reporting.page.write import write_page
from src.reporting.run_comparison import compare
from src.reporting.run_results import run_results
from src.reporting.sections import SECTIONS


def report(request: Request) -> Path:
    """Write the page of a run, or of several side by side, and return its path.

    Raises UsageError where a run does not exist; Problem where runs have other folds, or a table of logits is damaged;
    Busy where another process writes the page.
    """
    if request.runs:
        return compare(request)
    with silenced():
        results = run_results(request)
    sections = results.competition.target.page
    if results.competition.samples.metadata:
        sections = (sections[0], "metadata", *sections[1:])
    if results.competition.config.images.bag_size and results.held is not None and not is_external(results.run):
        sections = (*sections[:-2], "bags", *sections[-2:])
    run, folder = results.run, results.run.folder / "report"
    with (
        only_one(folder, f"the report of run {run.name}"),
        Bar(len(sections) + 1, "report", "section") as bar,
        silenced(),
    ):
        made = []
        for name in sections:
            bar.describe(f"report: {name}")
            made.append(SECTIONS.get(name)(results))
            bar.update()
        bar.describe("report: figures")
        today = datetime.date.today().isoformat()
        text = f"Competition {run.competition}, run {run.name}; page made on {today} by python -m src.report"
        file = write_page(Page(f"{run.name}: {results.competition.card.title}", text, tuple(made)), folder)
        bar.update()
    log.info(f"{file}: {file.stat().st_size / 1e6:.1f} MB, open it in a browser")
    return file
