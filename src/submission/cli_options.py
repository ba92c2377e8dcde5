"""The flags that src.submit and src.kernel share: -m MESSAGE, --wait=MINUTES and --again."""

import math

from src.core.cli import Command
from src.core.errors import UsageError


def add_push_flags(command: Command, usual: str) -> None:
    """usual: the message where none is given."""
    command.flag(
        "-m --message", f"what Kaggle shows beside the submission; by default {usual}", value="TEXT", must=True
    )
    command.flag("--wait", "wait for the score so many minutes: 10 by default, 0 not at all", value="MINUTES")
    command.flag("--again", "submit what was submitted before")


def message_of(flags: dict[str, str]) -> str:
    """The text of -m, "" where it is not given. Raises UsageError where it is empty."""
    message = flags.get("-m")
    if message is not None and not message.strip():
        raise UsageError("-m: give a message, for example -m 'resnet50, five folds'", code="empty-message")
    return message or ""


def minutes_of(flags: dict[str, str]) -> float:
    """What --wait says. Raises UsageError where it is no number of minutes."""
    word = flags.get("--wait") or "10"
    try:
        minutes = float(word)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise UsageError(
            f"--wait={word}: write minutes, such as --wait=10, or --wait=0 to wait not at all", code="flag-value"
        )
    return minutes
