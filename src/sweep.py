"""Compare runs: every combination of the values given is trained as a run of its own, then all are set side by side.

usage: python -m src.sweep [config=NAME | competition=ID] key=VALUE,VALUE ... [fold=0..4] [seed=0,1,2] [key=value ...]
       python -m src.sweep sweep=NAME [key=value ...]
       python -m src.sweep --search optim.lr=1e-4..1e-1 model.drop_rate=0..0.5 model.name=A,B [trials=30] ...

  optim.lr=2e-3,1e-3 model.name=vgg19_bn,resnet50     four runs; a value that is itself a list is quoted: '[a, b]'
  sweep=NAME         reads configs/sweeps/NAME.yaml; what else is given replaces what stands there
  machine.jobs=1     trains one run after the other; else as many side by side as the CPU has cores, or one a GPU
  --search           not every combination, but trials=30 of them, each chosen by what the ones before it scored; those
                     that do poorly are stopped early. A..B is a range: by factors where B is 20 times A or more,
                     whole numbers where both ends are. A larger trials= goes on from what there is
  launcher=ray [address=HOST:PORT|auto]    every run, or trial, on a node of a Ray cluster, as many at once as it bears;
                     without address= Ray on this machine
Runs are named as src.train names them: finished folds are skipped, stopped ones go on. One that fails is told, and the
others go on. Tables and figures are written to runs/<competition>/sweeps/<name>/.
"""

from src.core.errors import exit_code
from src.core.process import imports, run
from src.experiments.search_space import FLAG, space_of
from src.experiments.sweep_plan import plan_of
from src.launchers.launcher import launcher_of


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    address, words = launcher_of(argv)
    if FLAG in words:
        space = space_of(words)
        with imports():
            from src.experiments.search import search

        search(space, address)
        return
    plan = plan_of(words)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.experiments.sweep import sweep

    sweep(plan, address)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
