"""Push a checked submission to Kaggle with the real kaggle command, wait for its score, and keep the ledger.

usage: python -m src.submit [config=NAME | run=NAME | FILE] [-m MESSAGE] [--dry-run] [--wait[=MINUTES]] [--again]
       python -m src.submit --sync | --history | --final [config=NAME | competition=ID]

  config=NAME      the latest CSV of that configuration's run, in submissions/
  FILE             any CSV; its competition is the name of its folder, or competition=ID
  -m MESSAGE       what Kaggle shows beside it; by default the file's name and its out-of-fold score
  --dry-run        check the file and tell what would be pushed; asks Kaggle nothing
  --wait=MINUTES   wait for the score that long: 10 by default, 0 not at all
  --again          push bytes that were submitted before
  --sync           take later scores, and submissions made by hand, into submissions/ledger.csv
  --history        the ledger, and whether out-of-fold and leaderboard scores agree
  --final          choose the final two, with reasons
Without config=, competition= and FILE the last three mean every competition in the ledger.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from src.command import parse
from src.competition.card import Card, card_file, load_card
from src.errors import Problem, UsageError, exit_code
from src.runs import sha256_of, submissions_folder

FLAGS = ("--dry-run", "--wait", "--again", "--sync", "--history", "--final")
LOOKS = ("--sync", "--history", "--final")
MINUTES = 10.0


@dataclass(frozen=True)
class Wish:
    """The command line, read. `file` is None where the latest of `run` is meant."""

    competition: str
    run: str
    file: Path | None
    message: str
    minutes: float
    flags: frozenset[str]
    named: bool  # whether a competition was named at all


def door(argv: list[str]) -> None:
    if "--help" in argv or "-h" in argv:
        print(__doc__.strip())
        return
    wish = read(argv)
    looks = [flag for flag in LOOKS if flag in wish.flags]
    if not looks:
        submit(wish)
    for flag in looks:
        for competition in _looked_at(wish):
            {"--sync": sync, "--history": history, "--final": final}[flag](competition)


def submit(wish: Wish) -> None:
    """Check the file, push it, and tell the score. Raises Problem where any of it fails."""
    from src.competition.samples import load_samples
    from src.submission.check import checked
    from src.submission.ledger import facts
    from src.submission.once import submit_once

    card = load_card(wish.competition)
    file = wish.file or latest(wish.competition, wish.run)
    checked(file, card, load_samples(card))
    print(f"{file} fits the sample submission of {card.id}")
    source = facts(card.id, sha256_of(file))
    score = source.get("oof_score")
    message = wish.message or (file.stem if score is None else f"{file.stem}, out of fold {score:.4f}")
    if "--dry-run" in wish.flags:
        _tell_dry(card, file, message)
        return
    mine = submit_once(card.id, _slug(card), file, message, wait_minutes=wish.minutes, again="--again" in wish.flags)
    if mine.status == "COMPLETE":
        shown = [("public", mine.public_score), ("private", mine.private_score), ("out of fold", score)]
        print(f"submission {mine.ref}: " + ", ".join(f"{name} {value:g}" for name, value in shown if value is not None))
        return
    later = f"Do not push it again; its score, later: python -m src.submit --sync competition={card.id}"
    if wish.minutes > 0:
        raise Problem(f"submission {mine.ref} arrived, and is not scored after {wish.minutes:g} minutes.\n{later}")
    print(f"submission {mine.ref} arrived. {later}")


def sync(competition: str) -> None:
    """Bring the ledger up to Kaggle's list."""
    from src.submission.once import sync as bring_up

    rows = bring_up(competition, _slug(load_card(competition)))
    for row in rows:
        print(
            f"{row.ref}  {row.status}  public {_or_dash(row.public_score)}  private {_or_dash(row.private_score)}  {row.file}"
        )
    print(
        f"{competition}: {len(rows)} rows added to the ledger" if rows else f"{competition}: the ledger is up to date"
    )


def history(competition: str) -> None:
    from src.submission.history import history as tell

    print(f"== {competition}")
    tell(competition)


def final(competition: str) -> None:
    from src.metrics import metric
    from src.submission.final import final_two

    card = load_card(competition)
    print(f"== {competition}")
    final_two(competition, _slug(card), metric(card.metric, card.folder).higher_is_better)


def latest(competition: str, run: str) -> Path:
    """The newest CSV of a run, under the name that no later prediction takes over."""
    path = submissions_folder(competition) / f"{run}.csv"
    if not path.is_file():
        raise Problem(f"there is no {path} yet.\nMake it: python -m src.predict --tta, with the same config= or run=")
    kept = path.with_name(f"{run}-{sha256_of(path)[:8]}.csv")
    return kept if kept.is_file() else path


def read(argv: list[str]) -> Wish:
    """Read the command line. Raises UsageError."""
    message, words = _message(argv)
    # A run's name may hold "=", and so may its file's.
    files = [word for word in words if not word.startswith("-") and ("=" not in word or Path(word).is_file())]
    others = [word for word in words if word not in files]
    named = any(word.split("=")[0] in ("config", "competition", "run") for word in others)
    file = Path(files[0]) if files else None
    if len(files) > 1:
        raise UsageError(f"one file at a time, not {' and '.join(files)}")
    if file and not file.is_file():
        raise UsageError(f"there is no file {file}; a configuration is written config=NAME")
    if file and not named:
        others.append(f"competition={_competition_of(file)}")
    request = parse(others, FLAGS)
    empty = [flag for flag, value in request.flags.items() if value and flag != "--wait"]
    if empty:
        raise UsageError(f"{empty[0]} takes no value")
    minutes = _minutes(request.flags.get("--wait") or str(MINUTES))
    flags = frozenset(request.flags)
    return Wish(request.competition, request.run, file, message, minutes, flags, named or file is not None)


def _message(argv: list[str]) -> tuple[str, list[str]]:
    words = list(argv)
    places = [i for i, word in enumerate(words) if word.split("=")[0] in ("-m", "--message")]
    if not places:
        return "", words
    flag, equals, message = words.pop(places[0]).partition("=")
    if not equals:
        message = words.pop(places[0]) if places[0] < len(words) else ""
    if len(places) > 1 or not message.strip():
        raise UsageError(f"{flag}: give one message, for example {flag} 'resnet50, 5 folds'")
    return message, words


def _minutes(word: str) -> float:
    try:
        minutes = float(word)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise UsageError(f"--wait={word}: write minutes, for example --wait=10, or --wait=0 to wait not at all")
    return minutes


def _competition_of(file: Path) -> str:
    name = file.resolve().parent.name
    if card_file(name) is None:
        raise UsageError(f"{file}: which competition is it for? Its folder {name!r} is none; add competition=ID")
    return name


def _looked_at(wish: Wish) -> list[str]:
    from src.submission import ledger

    held = list(dict.fromkeys(entry.competition for entry in ledger.read()[0]))
    return held if held and not wish.named else [wish.competition]


def _slug(card: Card) -> str:
    if not card.kaggle:
        raise UsageError(
            f"{card.id} is not at Kaggle: its card.yaml has no `kaggle:`.\n"
            "If it is, add kaggle: NAME, what follows kaggle.com/competitions/ in its address."
        )
    return card.kaggle


def _tell_dry(card: Card, file: Path, message: str) -> None:
    from src.submission.ledger import submitted_before

    before = submitted_before(card.id, sha256_of(file))
    if before:
        print(
            f"these bytes were submitted before, on {before.time[:10]} as {before.ref or before.token} ({before.status})"
        )
    where = card.kaggle or f"Kaggle (no `kaggle:` in the card of {card.id} yet)"
    print(f"would push {file.name} to {where} with the message {message!r}. Nothing was pushed.")


def _or_dash(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return exit_code(door, argv)


if __name__ == "__main__":
    sys.exit(main())
