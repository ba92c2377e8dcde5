"""Ask a trained run two questions: is the test set like the training set, and which labels look wrong?

The first is answered from what one trained network sees in images that it never learned from; the second from the
out-of-fold answers of every trained fold, or of those named by fold=. Tables and galleries are written to
runs/<competition>/<run>/review/:
  unlike.csv, unlike.png               the test images, those most unlike the training images first
  label_issues.csv, label_issues.png   the labels that look wrong, the most doubtful first
Keep the lines of label_issues.csv that you agree with, and train with data.ignore=PATH under a new name, run=NAME.
"""

from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.process import imports, run

COMMAND = Command("src.review", __doc__)
add_run(COMMAND, "the folds whose held-out labels are looked at")


def work(line: CommandLine) -> Result:
    request = request_of(line.keys)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.core.files import read_json
        from src.reporting.review import RECORD, review

    folder = review(request)
    return {"competition": request.competition, "run": request.run, "folder": folder} | read_json(folder / RECORD)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
