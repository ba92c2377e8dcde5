"""The words that src.submit and src.kernel share: -m MESSAGE and --wait=MINUTES."""

import math

from src.core.errors import UsageError

WORDS = ("-m", "--message")


def take_message(words: list[str], flags: tuple[str, ...]) -> tuple[str, list[str]]:
    """The message after -m, "" where there is none, and the other words. `flags`: those that it can not be by mistake.

    Raises UsageError where -m comes twice, with nothing, or right before a flag.
    """
    places = [place for place, word in enumerate(words) if word.split("=")[0] in WORDS]
    if not places:
        return "", words
    place = places[0]
    flag, equals, message = words[place].partition("=")
    rest = words[place + 1 :]
    if not equals:
        message, rest = "".join(rest[:1]), rest[1:]
        if message.split("=")[0] in flags:
            raise UsageError(
                f"{flag} {message}: {message} is a flag, so the message is missing; "
                f"if it is the message, write {flag}={message}"
            )
    if len(places) > 1 or not message.strip():
        raise UsageError(f"{flag}: give one message, for example {flag} 'resnet50, five folds'")
    return message, [*words[:place], *rest]


def minutes_of(flags: dict[str, str]) -> float:
    """What --wait says. Raises UsageError where it is no number of minutes."""
    word = flags.get("--wait") or "10"
    try:
        minutes = float(word)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise UsageError(f"--wait={word}: write minutes, such as --wait=10, or --wait=0 to wait not at all")
    return minutes
