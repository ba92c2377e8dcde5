"""Where cells on other machines write what they tell. It imports nothing, for it is begun as a process of its own."""


class Board:
    """Where the cells write what they tell: their lines, and how far they are."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, object]] = []
        self.progress: dict[str, object] = {}

    def tell(self, label: str, told: object) -> None:
        self.lines.append((label, told))

    def show(self, label: str, progress: object) -> None:
        """The latest is what counts."""
        self.progress[label] = progress

    def take(self) -> tuple[list[tuple[str, object]], dict[str, object]]:
        """What was told since the last time."""
        taken = self.lines, self.progress
        self.lines, self.progress = [], {}
        return taken
