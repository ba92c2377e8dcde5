"""What a word that is not known may have been meant to be."""

import difflib


def did_you_mean(word: str, known: list[str], cutoff: float = 0.6) -> str:
    """A question that helps who misspelt a word; empty where no known one is near. cutoff: of difflib, 1 for equal."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f" Did you mean {near[0]}?" if near else ""


def nearest(word: str, known: list[str]) -> str:
    """The same; where none is near, the known ones if they are few."""
    few = f" Known: {', '.join(known)}." if 0 < len(known) <= 20 else ""
    return did_you_mean(word, known) or few


def nearest_key(key: str, known: list[str]) -> str:
    """The same for a key section.name, also where the section was left out or is another one."""
    last = key.rsplit(".", maxsplit=1)[-1]
    names = {name.split(".")[-1]: name for name in reversed(known)}
    if last in names:
        return f" Did you mean {names[last]}?"
    near = difflib.get_close_matches(last, list(names), n=1) if "." not in key else []
    return nearest(key, known) or (f" Did you mean {names[near[0]]}?" if near else "")
