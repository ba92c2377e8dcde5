"""The page of several runs of one competition, side by side."""

import datetime
from dataclasses import replace
from pathlib import Path

from src.command import Request
from src.findings.compared import compared_of
from src.findings.side_by_side import answer, classes, differences, flipped, learning
from src.findings.subject import Say, subject_of
from src.progress import progress
from src.reporting.page.blocks import Page
from src.reporting.page.write import write_page
from src.runs import only_one, runs_folder

SECTIONS = (answer, learning, flipped, classes, differences)


def compare(request: Request, say: Say = print) -> Path:
    """Write the page of request.runs and return its path. Raises Problem where they stand on different folds."""
    each = zip(request.runs, request.configs, strict=True)
    alone = [replace(request, run=name, config=config, runs=(), configs=()) for name, config in each]
    folder = runs_folder(request.competition) / "comparisons" / request.run
    title = " against ".join(request.runs) if len(request.runs) == 2 else f"{len(request.runs)} runs side by side"
    told = (
        f"Competition {request.competition}; page made on {datetime.date.today().isoformat()} by python -m src.report"
    )
    subjects, made = {}, []
    with progress(len(alone) + len(SECTIONS) + 1, "report", "step") as bar:
        for one in alone:
            bar.set_description_str(f"report: run {one.run}")
            subjects[one.run] = subject_of(one, lambda _: None)
            bar.update()
        compared = compared_of(subjects)
        for section in SECTIONS:
            bar.set_description_str(f"report: {section.__name__}")
            made.append(section(compared))
            bar.update()
        bar.set_description_str("report: figures")
        with only_one(folder, f"the comparison {request.run}"):
            file = write_page(Page(title, told, tuple(made)), folder)
        bar.update()
    say(f"{file}: {file.stat().st_size / 1e6:.1f} MB, open it in a browser")
    return file
