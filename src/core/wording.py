"""Numbers in sentences."""


def plural(count: int, one: str, several: str = "") -> str:
    """The number with its noun: `1 table`, `3 tables`. several: where it is not `one` with an s."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
