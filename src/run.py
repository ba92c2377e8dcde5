"""The whole way in one process: trains the folds, predicts with TTA, writes the checked CSV and makes the page.

As src.train, src.predict --tta and src.report do, one after the other, to the same bits; ./run.sh starts it.
"""

from dataclasses import replace

from src import predict, report, train
from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.process import begin_part, imports, run
from src.launchers.launcher import add_launcher, launcher_of

COMMAND = Command("src.run", __doc__)
add_run(COMMAND, "0, 0,2 or 0..4; all: one model on every row, its epochs taken from cross-validation")
add_launcher(COMMAND, "trains every fold")


def work(line: CommandLine) -> Result:
    _, keys = launcher_of(line.keys)
    request_of(keys)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.competition.competition import loaded_once

    with loaded_once():
        result = train.work(line)
        line = replace(line, keys=keys)  # where it was trained is no matter to what follows
        begin_part()
        result |= predict.work(replace(line, flags={"--tta": ""}))
        begin_part()
        return result | report.work(line)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
