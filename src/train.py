"""Train folds of a run. Finished folds are skipped, a stopped one goes on where it stopped.

Several GPUs: folds are trained side by side, one on each; machine.jobs=1 trains one after the other on the first.
One fold on several GPUs or machines: torchrun --nproc-per-node 2 -m src.train ...
"""

from src.config.request import add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.errors import UsageError
from src.core.launch import launched
from src.core.process import began, imports, run
from src.launchers.launcher import add_launcher, launcher_of

COMMAND = Command("src.train", __doc__, several=True)
add_run(COMMAND, "0, 0,2 or 0..4; all: one model on every row, its epochs taken from cross-validation")
add_launcher(COMMAND, "every fold")
COMMAND.flag("--find-lr", "train nothing: try rising learning rates on one fold, plot the loss and propose one")


def work(line: CommandLine) -> Result:
    address, keys = launcher_of(line.keys)
    request = request_of(keys, line.flags)
    finding = "--find-lr" in request.flags
    if launched().count > 1 and (finding or address):
        text = "--find-lr works in one process" if finding else "launcher=ray starts processes of its own"
        raise UsageError(f"{text}: give it without a launcher such as torchrun", code="launched-twice")
    if finding and address:
        raise UsageError("--find-lr works in one process: give it without launcher=ray", code="launched-twice")
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    if finding:
        with imports():
            from src.experiments.lr_finder import find_lr

        return {"run": request.run, "optim.lr": find_lr(request)}
    with imports():
        from src.competition.plan_record import plan_of
        from src.core.paths import Run
        from src.training.run import result_of, train
    if request.config.budget and not address:
        with imports():
            from src.experiments.budget import train_within_budget

        train_within_budget(request, began())
    elif address:
        with imports():
            from src.launchers.ray.runs import train_on_ray

        train_on_ray(request, address)
    else:
        train(request)
    plan = plan_of(Run(request.competition, request.run))
    return result_of(request) | ({"plan": plan} if plan else {})


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
