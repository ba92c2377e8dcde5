"""One page that tells why the score is what it is, made of what training and prediction stored.

usage: python -m src.report [config=NAME | competition=ID] [run=NAME] [fold=0..4] [seed=0,1,2] [key=value ...]
       python -m src.report runs=NAME,NAME... | --compare NAME NAME...

One HTML file that needs no network, runs/<competition>/<run>/report/report.html; every figure lies beside it as PNG,
its numbers as CSV. No network is run but for a few maps of where the most confident mistakes were found.
Several runs are set side by side: curves over each other, and the images that one recognises and another does not, in
runs/<competition>/comparisons/<names>/.
"""

from src.config.request import parse
from src.core.errors import exit_code
from src.core.process import imports, run

COMPARE = "--compare"


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    request = parse(_spelt_out(argv), several_runs=True)
    # Imported only now: torch and its friends take seconds, a misspelt key is told at once.
    with imports():
        from src.reporting.run_report import report

    report(request)


def _spelt_out(argv: list[str]) -> list[str]:
    """`--compare a b` is another way to write runs=a,b."""
    if COMPARE not in argv:
        return argv
    words = [word for word in argv if word != COMPARE]
    names = [word for word in words if "=" not in word]
    return [f"runs={','.join(names)}", *(word for word in words if "=" in word)]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
