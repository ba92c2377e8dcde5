"""The notebook that answers a hidden test set at Kaggle, or trains there: built, pushed, run and submitted.

Without a flag the folder runs/<competition>/<run>/kernel/ is built: the exported models (first: python -m src.predict
--export), what Podium needs there as a wheel, and an offline notebook. Nothing is sent.
"""

from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.console import note
from src.core.errors import UsageError
from src.core.process import run
from src.submission.cli_options import add_push_flags, message_of, minutes_of

OF_PUSH = ("--wait", "--again", "-m")
COMMAND = Command("src.kernel", __doc__)
add_run(COMMAND, "with --train, the folds to train")
COMMAND.key("kernel.hours=9", "the time limit: the notebook times its first 200 images and leaves out views if need be")
COMMAND.key("kernel.wheels=FOLDER", "wheels that Kaggle's image lacks, or that it has in another version")
COMMAND.key("kernel.user=NAME", "your name at Kaggle")
COMMAND.key("kernel.machine=NvidiaTeslaT4", "the accelerator; cpu takes none of the week's GPU hours")
COMMAND.flag("--push", "upload it as a dataset and a notebook, both private, wait for the run, and submit its version")
COMMAND.flag(
    "--train",
    "train at Kaggle, on its GPU, and bring the run back here; where the time limit comes first, go on from the last "
    "checkpoint. To go on later, or on another day: the same command again",
)
COMMAND.flag("--dry-run", "build the folder and send nothing, also with --push and --train")
add_push_flags(COMMAND, "the run and its out-of-fold score")


def work(line: CommandLine) -> Result:
    flags = line.flags
    _check_flags(flags)
    message, minutes = message_of(flags), minutes_of(flags)
    request = request_of(line.keys, flags)
    result = {"competition": request.competition, "run": request.run}
    if "--train" in flags:
        from src.launchers.kaggle_notebook.training_notebook import train_there

        train_there(request, dry="--dry-run" in flags)
        return result | {"trained": "--dry-run" not in flags}
    if request.folds or request.seeds != (0,):
        raise UsageError(
            "fold= and seed= are chosen when the models are exported: python -m src.predict --export",
            code="not-for-kernel",
        )
    # Imported only now: torch takes seconds, a misspelt flag is told at once.
    from src.launchers.kaggle_notebook.inference_notebook import build, push

    folder = build(request)
    result |= {"folder": folder.path, "kernel": folder.kernel, "pushed": False}
    if "--push" in flags and "--dry-run" not in flags:
        submission = push(request, folder, message, minutes, again="--again" in flags)
        return result | {"pushed": True, "submission": submission}
    instead = "without --dry-run" if "--push" in flags else "with --push"
    note("nothing-sent", f"nothing was sent. To upload, run and submit it: the same command {instead}")
    return result


def _check_flags(flags: dict[str, str]) -> None:
    """Raises UsageError for two actions at once, and for a flag that would do nothing."""
    if {"--push", "--train"} <= set(flags):
        raise UsageError("--push and --train: one at a time", code="one-action")
    idle = [flag for flag in flags if flag in OF_PUSH and "--push" not in flags]
    if idle:
        raise UsageError(f"{idle[0]} belongs to --push: nothing is submitted without it", code="flag-without-push")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
