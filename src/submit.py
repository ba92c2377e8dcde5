"""Push a checked submission to Kaggle with the real kaggle command, wait for its score, and keep the ledger.

Without FILE the latest CSV of the named configuration's run is pushed, from submissions/. Without config=,
competition=, run= and FILE, --sync, --history and --final mean every competition in the ledger.
"""

from pathlib import Path

from src.competition.card import card_file, load_card
from src.config.request import Request, add_run, request_of
from src.core.cli import Command, CommandLine, Result
from src.core.errors import UsageError
from src.core.process import run
from src.submission.cli_options import add_push_flags, message_of, minutes_of

ACTIONS = {
    "--dry-run": "check the file and tell what would be pushed; asks nothing of Kaggle",
    "--sync": "take later scores, and submissions made by hand, into submissions/ledger.csv",
    "--history": "the ledger, and whether out-of-fold and leaderboard scores agree",
    "--final": "choose the final two, with reasons",
}
COMMAND = Command("src.submit", __doc__, files="[FILE]")
add_run(COMMAND, "as for src.predict")
add_push_flags(COMMAND, "the file's name and its out-of-fold score")
for flag, meaning in ACTIONS.items():
    COMMAND.flag(flag, meaning)


def work(line: CommandLine) -> Result:
    message = message_of(line.flags)
    file, keys = _file(line)
    request = request_of(keys, line.flags)
    actions = [flag for flag in request.flags if flag in ACTIONS]
    if len(actions) > 1:
        raise UsageError(f"{' and '.join(actions)}: one at a time", code="one-action")
    minutes = minutes_of(request.flags)
    if actions and actions != ["--dry-run"]:
        return _look(actions[0], request, named=bool(keys))
    # Imported only now: pandas takes a second, a misspelt flag is told at once.
    from src.submission.submit import latest, rehearse, submit

    card = load_card(request.competition)
    file = file or latest(card.id, request.run)
    result = {"competition": card.id, "file": file}
    if actions:
        rehearse(card, file, message)
        return result | {"pushed": False}
    return result | {"pushed": True, "submission": submit(card, file, message, minutes, "--again" in request.flags)}


def _look(action: str, request: Request, named: bool) -> Result:
    """Do one of --sync, --history and --final for the competition named, or for each in the ledger."""
    from src.submission.history import history
    from src.submission.ledger import read
    from src.submission.submit import final, sync

    held = [] if named else list(dict.fromkeys(entry.competition for entry in read()[0]))
    found = {}
    for competition in held or [request.competition]:
        if action == "--history":
            found[competition] = history(competition)
        else:
            found[competition] = (sync if action == "--sync" else final)(load_card(competition))
    return {"competitions": found}


def _file(line: CommandLine) -> tuple[Path | None, dict[str, str]]:
    """FILE, and the keys with its competition put in where none is named."""
    if not line.files:
        return None, line.keys
    if len(line.files) > 1:
        raise UsageError(f"one file at a time, not {' and '.join(line.files)}", code="one-file")
    file = Path(line.files[0])
    if not file.is_file():
        raise UsageError(f"there is no file {file}; a configuration is written config=NAME", code="no-such-file")
    if {"config", "competition", "run"} & set(line.keys):
        return file, line.keys
    folder = file.resolve().parent.name
    if card_file(folder) is None:
        raise UsageError(
            f"{file}: its folder {folder!r} is no competition; add competition=ID", code="unknown-competition"
        )
    return file, line.keys | {"competition": folder}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
