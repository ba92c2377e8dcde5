"""Push a checked submission to Kaggle with the real kaggle command, wait for its score, and keep the ledger.

usage: python -m src.submit [config=NAME | run=NAME | FILE] [-m MESSAGE] [--dry-run] [--wait[=MINUTES]] [--again]
       python -m src.submit --sync | --history | --final [config=NAME | competition=ID]

  config=NAME      the latest CSV of that configuration's run, in submissions/
  FILE             any CSV; its competition is the name of its folder, or competition=ID
  -m MESSAGE       what Kaggle shows beside it; by default the file's name and its out-of-fold score
  --dry-run        check the file and tell what would be pushed; asks nothing of Kaggle
  --wait=MINUTES   wait for the score that long: 10 by default, 0 not at all
  --again          push bytes that were submitted before
  --sync           take later scores, and submissions made by hand, into submissions/ledger.csv
  --history        the ledger, and whether out-of-fold and leaderboard scores agree
  --final          choose the final two, with reasons
Without config=, competition=, run= and FILE the last three mean every competition in the ledger.
"""

from pathlib import Path

from src.competition.card import card_file, load_card
from src.config.request import Request, parse
from src.core.errors import UsageError, exit_code
from src.core.process import run
from src.submission.cli_options import minutes_of, take_message

ACTIONS = ("--dry-run", "--sync", "--history", "--final")
FLAGS = (*ACTIONS, "--wait", "--again")


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    message, words = take_message(argv, FLAGS)
    file, words = _file(words)
    request = parse(words, FLAGS)
    actions = [flag for flag in request.flags if flag in ACTIONS]
    valued = [flag for flag, value in request.flags.items() if value and flag != "--wait"]
    if len(actions) > 1 or valued:
        raise UsageError(f"{valued[0]} takes no value" if valued else f"{' and '.join(actions)}: one at a time")
    minutes = minutes_of(request.flags)
    if actions and actions != ["--dry-run"]:
        _look(actions[0], request, named=any("=" in word and word[0] != "-" for word in words))
        return
    # Imported only now: pandas takes a second, a misspelt flag is told at once.
    from src.submission.submit import latest, rehearse, submit

    card = load_card(request.competition)
    file = file or latest(card.id, request.run)
    if actions:
        rehearse(card, file, message)
    else:
        submit(card, file, message, minutes, again="--again" in request.flags)


def _look(action: str, request: Request, named: bool) -> None:
    """Do one of --sync, --history and --final for the competition named, or for each in the ledger."""
    from src.submission.history import history
    from src.submission.ledger import read
    from src.submission.submit import final, sync

    held = [] if named else list(dict.fromkeys(entry.competition for entry in read()[0]))
    for competition in held or [request.competition]:
        if action == "--history":
            history(competition)
        else:
            (sync if action == "--sync" else final)(load_card(competition))


def _file(words: list[str]) -> tuple[Path | None, list[str]]:
    """Take FILE out of the words, and put its competition in, where none is named."""
    # The name of a run, and so of its file, may hold "=".
    files = [word for word in words if word[:1] != "-" and ("=" not in word or Path(word).is_file())]
    others = [word for word in words if word not in files]
    if not files:
        return None, words
    if len(files) > 1:
        raise UsageError(f"one file at a time, not {' and '.join(files)}")
    file = Path(files[0])
    if not file.is_file():
        raise UsageError(f"there is no file {file}; a configuration is written config=NAME")
    if any(word.split("=")[0] in ("config", "competition", "run") for word in others):
        return file, others
    folder = file.resolve().parent.name
    if card_file(folder) is None:
        raise UsageError(f"{file}: its folder {folder!r} is no competition; add competition=ID")
    return file, [*others, f"competition={folder}"]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    run(main)
