"""Where cells on other machines write what they tell. It imports nothing, for it is begun as a process of its own."""


class Board:
    """Where the cells write what they tell: their lines, and how far they are."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.standings: dict[str, object] = {}

    def tell(self, label: str, text: str) -> None:
        self.lines.append((label, text))

    def show(self, label: str, standing: object) -> None:
        """The latest is what counts."""
        self.standings[label] = standing

    def take(self) -> tuple[list[tuple[str, str]], dict[str, object]]:
        """What was told since the last time."""
        taken = self.lines, self.standings
        self.lines, self.standings = [], {}
        return taken
