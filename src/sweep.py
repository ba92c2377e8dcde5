"""Compare runs: every combination of the values given is trained as a run of its own, then all are set side by side.

  optim.lr=2e-3,1e-3 model.name=vgg19_bn,resnet50     four runs; a value that is itself a list is quoted: '[a, b]'
  --search optim.lr=1e-4..1e-1 model.drop_rate=0..0.5 model.name=A,B trials=30
                     not every combination, but so many of them. A..B is a range: by factors where B is 20 times A or
                     more, whole numbers where both ends are. A larger trials= goes on from what there is
Runs are named as src.train names them: finished folds are skipped, stopped ones go on. One that fails is told, and the
others go on. Tables and figures are written to runs/<competition>/sweeps/<name>/.
"""

from dataclasses import replace

from src.config.request import add_run
from src.core.cli import Command, CommandLine, Result
from src.core.errors import UsageError
from src.core.process import imports, run
from src.experiments.search_space import FLAG, space_of
from src.experiments.sweep_plan import plan_of
from src.launchers.launcher import add_launcher, launcher_of

PREDICT = "--predict"
COMMAND = Command("src.sweep", __doc__)
add_run(COMMAND, "the folds that every run trains", names_run=False)
COMMAND.key("key=VALUE,VALUE", "any key of configs/default.yaml: a run for each value")
COMMAND.key("sweep=NAME", "reads configs/sweeps/NAME.yaml; what else is given replaces what stands there")
COMMAND.key("machine.jobs=1", "one run after the other; else as many as the CPU has cores, or one a GPU")
COMMAND.key("trials=30", "how many runs --search makes")
add_launcher(COMMAND, "every run, or trial, as many at once as it bears,")
COMMAND.flag(
    FLAG,
    "search instead: each run is chosen by what the ones before it scored; those that do poorly are stopped early",
)
COMMAND.flag(
    PREDICT,
    "each run answers the test images too, in one view, and writes its CSV as src.predict does, where it has none yet: "
    "where their answers are known, the table has the score",
)


def work(line: CommandLine) -> Result:
    address, keys = launcher_of(line.keys)
    words = [f"{key}={value}" for key, value in keys.items()]
    if FLAG in line.flags:
        if PREDICT in line.flags:
            raise UsageError(
                f"{FLAG} chooses by held-out images; leave {PREDICT} out, and then: python -m src.predict run=RUN",
                code="one-run-only",
            )
        space = space_of([FLAG, *words])
        with imports():
            from src.experiments.outcomes import result_of
            from src.experiments.search import search

        search(space, address)
        return result_of(space.first.request.competition, space.name, space.folder)
    plan, predicts = plan_of(words), PREDICT in line.flags
    if predicts:
        plan = replace(plan, command=f"{plan.command} {PREDICT}")
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.experiments.outcomes import result_of
        from src.experiments.sweep import sweep

    sweep(plan, address, predicts)
    return result_of(plan.competition, plan.name, plan.folder)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
