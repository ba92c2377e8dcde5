"""What the user sees of training: lines, and one bar over all folds with the time left."""

from collections.abc import Callable
from typing import Protocol

from src.progress import progress


class Teller(Protocol):
    """Whoever trains tells its lines and its steps to one of these."""

    def say(self, text: str) -> None: ...

    def advance(self, steps: int) -> None: ...


class Quiet:
    """Tells nothing: of several processes that train together only the first one speaks."""

    def say(self, text: str) -> None:
        pass

    def advance(self, steps: int) -> None:
        pass

    def close(self) -> None:
        pass


class Terminal:
    """Lines through `say`; a bar of `total` steps (or other units) below them."""

    def __init__(self, total: int, say: Callable[[str], None], what: str = "training", unit: str = "step") -> None:
        self.bar = progress(total, what, unit)
        self._say = say

    def say(self, text: str) -> None:
        with self.bar.external_write_mode():
            self._say(text)

    def advance(self, steps: int) -> None:
        self.bar.update(steps)

    def close(self) -> None:
        self.bar.close()
