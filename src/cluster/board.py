"""Where cells on other machines write what they tell. It imports nothing, for it is begun as a process of its own."""


class Board:
    """Where the cells write what they tell."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def tell(self, label: str, text: str) -> None:
        self.lines.append((label, text))

    def take(self) -> list[tuple[str, str]]:
        """What was told since the last time."""
        taken, self.lines = self.lines, []
        return taken
