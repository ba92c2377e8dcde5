"""Predict with the trained folds of a run: out-of-fold scores, and a checked CSV in submissions/.

usage: python -m src.predict [--tta] [config=NAME | competition=ID] [run=NAME] [fold=0..4] [seed=0,1,2] [key=value ...]

  --tta                       average the views of predict.views; without it each image is seen once, as it is
  predict.views=[identity,hflip]   which views; the word square stands for its eight, flips, shifts and crops for theirs
  predict.size=96             see the images at another size than in training
  fold=all                    the one model that was trained on every row
Without fold= every trained fold takes part. Views already computed are not computed again.
"""

import sys

from src.command import parse
from src.errors import UsageError, exit_code


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    request = parse(argv, flags=("--tta",))
    if request.flags.get("--tta"):
        raise UsageError(f"--tta={request.flags['--tta']}: --tta takes no word; predict.views=[...] names the views")
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    from src.inference.predict import predict

    predict(request)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    sys.exit(main())
