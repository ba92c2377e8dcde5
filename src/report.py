"""One page that tells why the score is what it is, made of what training and prediction stored.

One HTML file that needs no network, runs/<competition>/<run>/report/report.html; every figure lies beside it as PNG,
its numbers as CSV. No network is run but for a few maps of where the most confident mistakes were found.
Several runs are set side by side: curves over each other, and the images that one recognises and another does not, in
runs/<competition>/comparisons/<names>/.
"""

import time

from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.errors import UsageError
from src.core.process import began, imports, run

COMMAND = Command("src.report", __doc__, files="[RUN RUN ...]")
add_run(COMMAND, "the folds that the page is about")
COMMAND.key("runs=A,B", "set these runs side by side")
COMMAND.flag("--compare", "the same, with the names after it: --compare A B")


def work(line: CommandLine) -> Result:
    keys = dict(line.keys)
    if "--compare" in line.flags:
        keys |= {"runs": ",".join(line.files)}
    elif line.files:
        raise UsageError(
            f"{line.files[0]!r} is not understood: write key=value, or --compare before names", code="not-key-value"
        )
    request = request_of(keys, several_runs=True)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.competition.plan_record import PAGE, note_took
        from src.core.paths import Run
        from src.reporting.run_report import report

    begun = began()
    page = report(request)
    if not request.runs:
        note_took(Run(request.competition, request.run), PAGE, time.monotonic() - begun)
    return {"competition": request.competition, "run": request.run, "page": page}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
