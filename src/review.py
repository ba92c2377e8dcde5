"""Ask a trained run two questions: is the test set like the training set, and which labels look wrong?

usage: python -m src.review [config=NAME | competition=ID] [run=NAME] [fold=0..4] [seed=0,1,2] [key=value ...]

The first is answered from what one trained network sees in images that it never learned from; the second from the
out-of-fold answers of every trained fold, or of those named by fold=. Tables and galleries are written to
runs/<competition>/<run>/review/:
  unlike.csv, unlike.png               the test images, those most unlike the training images first
  label_issues.csv, label_issues.png   the labels that look wrong, the most doubtful first
Keep the lines of label_issues.csv that you agree with, and train with data.ignore=PATH under a new name, run=NAME.
"""

from src.config.request import parse
from src.core.errors import exit_code
from src.core.process import imports, run


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    request = parse(argv)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.reporting.review import review

    review(request)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
