"""Train folds of a run. Finished folds are skipped, a stopped one goes on where it stopped.

usage: python -m src.train [fold=0..4] [config=NAME | competition=ID] [run=NAME] [seed=0,1,2] [key=value ...]

  fold=0   fold=0,2   fold=0..4   fold=all (one model on every row; its epochs come from cross-validation)
  config=NAME        configs/NAME.yaml; without config=, competition= and run= the embedded demo
  --find-lr          train nothing: try rising learning rates on one fold, plot the loss and propose one
  launcher=ray [address=HOST:PORT|auto]    every fold on a node of a Ray cluster; without address= Ray on this machine
  key=value          any key of configs/default.yaml, for example model=resnet50 optim.lr=1e-3

several GPUs: folds are trained side by side, one on each; machine.jobs=1 trains one after the other on the first
one fold on several GPUs or machines: torchrun --nproc-per-node 2 -m src.train ...
"""

from src.config.request import parse
from src.core.errors import UsageError, exit_code
from src.core.launch import launched
from src.core.process import imports, run
from src.launchers.launcher import launcher_of


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    address, words = launcher_of(argv)
    request = parse(words, flags=("--find-lr",))
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    if "--find-lr" in request.flags:
        if address or launched().count > 1:
            raise UsageError("--find-lr works in one process: give it without a launcher")
        with imports():
            from src.experiments.lr_finder import find_lr

        find_lr(request)
        return
    if address:
        if launched().count > 1:
            raise UsageError("launcher=ray starts processes of its own: give it without torchrun")
        with imports():
            from src.launchers.ray.runs import train_on_ray

        train_on_ray(request, address)
        return
    with imports():
        from src.training.run import train

    train(request)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv, several=True)


if __name__ == "__main__":
    run(main)
