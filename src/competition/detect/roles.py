"""What the name of a file or folder says about its part in a competition."""

import re
from typing import Literal

Role = Literal["train", "validation", "test", "sample", ""]

_BEGINNINGS: dict[str, tuple[str, ...]] = {
    "sample": ("sample", "submission", "submit"),
    "test": ("test", "tst", "unlabel"),
    "validation": ("val", "dev", "holdout"),
    "train": ("train", "trn"),
}
_WEAK = {"evaluation": "test", "eval": "test", "private": "test", "public": "test", "labeled": "train"}


def words(name: str) -> list[str]:
    """The words of a name, lower case: trainLabels_v2 is train, labels, v, 2."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+", name)]


def role_of_word(text: str) -> Role:
    """The part that a name plays; empty where it says nothing, or names two parts at once."""
    held = words(text)
    roles = {role for role, starts in _BEGINNINGS.items() for word in held if word.startswith(starts)}
    if "sample" in roles:
        return "sample"
    roles = roles or {_WEAK[word] for word in held if word in _WEAK}
    return roles.pop() if len(roles) == 1 else ""


def role_of(path: str) -> Role:
    """The part that a path plays: its innermost part that says anything."""
    return next((role for part in reversed(path.split("/")) if (role := role_of_word(part))), "")
