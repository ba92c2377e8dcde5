"""What differs between the runs of a sweep, read from words with commas in them."""

from dataclasses import dataclass

from src.core.errors import UsageError

LISTS = ("fold", "seed")  # their commas are no choices: every run trains all of them


@dataclass(frozen=True)
class Axis:
    """One thing that differs between runs. choices: {label: {key: value}}, the words of the command line."""

    name: str
    choices: dict[str, dict[str, str]]

    @property
    def keys(self) -> set[str]:
        return {key for words in self.choices.values() for key in words}


def split(words: dict[str, str]) -> tuple[dict[str, str], list[Axis]]:
    """Words with one value, and those with several."""
    fixed, axes = {}, []
    for key, word in words.items():
        values = [word] if key in LISTS else values_of(key, word)
        if len(values) == 1:
            fixed[key] = word
        else:
            axes.append(Axis(key, {value: {key: value} for value in values}))
    return fixed, axes


def values_of(key: str, word: str) -> list[str]:
    """The values between the commas of a word; commas within brackets or quotes belong to a value."""
    parts, depth, quote = [""], 0, ""
    for sign in word:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and not depth:
            parts.append("")
            continue
        parts[-1] += sign
    if "" in parts or len(set(parts)) < len(parts):
        raise UsageError(f"{key}={word}: write different values with a comma between each two", code="bad-value")
    return parts
