"""The notebook that answers a hidden test set at Kaggle, or trains there: built, pushed, run and submitted.

usage: python -m src.kernel [config=NAME | run=NAME] [--push] [-m MESSAGE] [--wait=MINUTES] [--again] [kernel.hours=9]
       python -m src.kernel --train [config=NAME | run=NAME] [fold=0..4] [seed=0] [--dry-run] [key=value ...]

Without a flag the folder runs/<competition>/<run>/kernel/ is built: the exported models (first: python -m src.predict
--export), what Podium needs there as a wheel, and an offline notebook. Nothing is sent.
  --push           upload it as a dataset and a notebook, both private, wait for the run, and submit its version
  -m MESSAGE       what Kaggle shows beside the submission; by default the run and its out-of-fold score
  --wait=MINUTES   wait for the score that long: 10 by default, 0 not at all
  --again          submit what was submitted before
  --train          train at Kaggle, on its GPU, and bring the run back here; where the time limit comes first, go on
                   from the last checkpoint. To go on later, or on another day: the same command again
  --dry-run        build the folder and send nothing, also with --push and --train
  kernel.hours=9   the time limit: the notebook times its first 200 images and leaves out views where it must
  kernel.wheels=FOLDER   wheels that Kaggle's image lacks, or that it has in another version
  kernel.user=NAME kernel.machine=NvidiaTeslaT4   your name at Kaggle, and the accelerator; cpu takes none of
                   the week's GPU hours
"""

from src.config.request import parse
from src.core.errors import UsageError, exit_code
from src.core.process import run
from src.submission.cli_options import minutes_of, take_message

PLAIN = ("--push", "--train", "--dry-run", "--again")
FLAGS = (*PLAIN, "--wait")
OF_PUSH = ("--wait", "--again", "-m")


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    message, words = take_message(argv, FLAGS)
    request = parse(words, FLAGS)
    flags = request.flags
    _check_flags(flags, message)
    minutes = minutes_of(flags)
    if "--train" in flags:
        from src.launchers.kaggle_notebook.training_notebook import train_there

        train_there(request, dry="--dry-run" in flags)
        return
    if request.folds or request.seeds != (0,):
        raise UsageError("fold= and seed= are chosen when the models are exported: python -m src.predict --export")
    # Imported only now: torch takes seconds, a misspelt flag is told at once.
    from src.launchers.kaggle_notebook.inference_notebook import build, push

    folder = build(request)
    if "--push" in flags and "--dry-run" not in flags:
        push(request, folder, message, minutes, again="--again" in flags)
    else:
        instead = "without --dry-run" if "--push" in flags else "with --push"
        print(f"nothing was sent. To upload, run and submit it: the same command {instead}")


def _check_flags(flags: dict[str, str], message: str) -> None:
    """Raises UsageError for a value where none is taken, two actions at once, and a flag that would do nothing."""
    valued = [flag for flag in PLAIN if flags.get(flag)]
    if valued:
        raise UsageError(f"{valued[0]} takes no value")
    if {"--push", "--train"} <= set(flags):
        raise UsageError("--push and --train: one at a time")
    idle = [flag for flag in (*flags, *(["-m"] if message else [])) if flag in OF_PUSH and "--push" not in flags]
    if idle:
        raise UsageError(f"{idle[0]} belongs to --push: nothing is submitted without it")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
