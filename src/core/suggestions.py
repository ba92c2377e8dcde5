"""What a word that is not known may have been meant to be."""

import difflib


def nearest(word: str, known: list[str]) -> str:
    """A sentence that helps who misspelt a word."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f" Did you mean {near[0]}?"
    return f" Known: {', '.join(known)}." if 0 < len(known) <= 20 else ""


def nearest_key(key: str, known: list[str]) -> str:
    """The same for a key section.name, also where the section was left out or is another one."""
    last = key.rsplit(".", maxsplit=1)[-1]
    names = {name.split(".")[-1]: name for name in reversed(known)}
    if last in names:
        return f" Did you mean {names[last]}?"
    near = difflib.get_close_matches(last, list(names), n=1) if "." not in key else []
    return nearest(key, known) or (f" Did you mean {names[near[0]]}?" if near else "")
