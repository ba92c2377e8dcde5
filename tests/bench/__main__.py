"""Podium beside its peers on this machine: every row of the table is measured, or goes on where it was stopped.

usage: python -m tests.bench [row ...] [--repeats=3] [--tiny] [--anew] [--table]

  row         as tests/README.md names them; without any, all of them
  --repeats   of every side; the sides of a row take turns
  --tiny      a few images and epochs, to see that every row runs; kept apart from real results
  --anew      forgets the results of the rows that are named
  --table     measures nothing, and writes the table from the results

Every measurement is kept in runs/bench/results.jsonl as it ends; the table is runs/bench/table.md. The photos are
those of butterflies-100.zip and butterflies-mini.zip, looked for where competition/butterflies-100/card.yaml says, or
in the folder PODIUM_DATA. Peers are installed by pip into runs/bench/peers. Let the machine do nothing else meanwhile.
"""

import argparse
import datetime
import os
import sys

from src.core.cli import ended
from src.core.errors import Problem, UsageError
from src.core.files import write_text
from src.core.locks import only_one
from tests.bench.machine import machine
from tests.bench.measure import measure
from tests.bench.photos import workplace
from tests.bench.record import Results
from tests.bench.rows import ROWS
from tests.bench.table import table

BUSY = 0.5  # processes at work in the last minute


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for and write the table. Exit codes: 0 done, 1 a side failed, 2 wrong usage."""
    return ended(lambda: _main(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> None:
    asked = _asked(argv)
    rows = [ROWS[name] for name in asked.rows or ROWS]
    folder = workplace()
    with only_one(folder, "the bench"):
        results = Results(folder / "results.jsonl", machine(), asked.tiny)
        if asked.anew:
            results.forget({row.name for row in rows})
        if (load := os.getloadavg()[0]) > BUSY and not asked.table:
            print(f"note: the machine is at other work (load {load:.1f}): these figures will be worth little")
        failed = []
        for row in [] if asked.table else rows:
            if reason := row.absent():
                print(f"{row.name}: not measured: {reason}")
            elif not measure(row, results, asked.repeats, folder / "work", print):
                failed.append(row.name)
            _write(results)
        print(_write(results))
    if failed:
        raise Problem(f"not all of {', '.join(failed)} could be measured, see above; the same command tries again")


def _write(results: Results) -> str:
    file = workplace() / ("tiny.md" if results.tiny else "table.md")
    text = table(list(ROWS.values()), results, datetime.date.today().isoformat())
    write_text(file, text)
    return f"{text}\n{file}"


def _asked(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="row")
    parser.add_argument("--repeats", type=int, default=3)
    for flag in ("--tiny", "--anew", "--table"):
        parser.add_argument(flag, action="store_true")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        raise UsageError(f"there is no row {unknown[0]!r}. Rows: {', '.join(ROWS)}")
    if asked.repeats < 1:
        raise UsageError(f"--repeats={asked.repeats}: must be at least 1")
    return asked


if __name__ == "__main__":
    sys.exit(main())
