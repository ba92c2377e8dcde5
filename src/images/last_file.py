"""What a thread made of the file that it read last: parts of one file stand in rows one after the other."""

import os
import threading
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


class LastFile(threading.local):
    """One thing for each thread, made anew where another file is asked for, or the file has changed."""

    _key: tuple[object, ...] | None = None
    _made: object = None

    def of(self, file: str | os.PathLike[str], what: object, make: Callable[[], Made]) -> Made:
        """What `make` gives, which this file and `what` tell. Raises OSError where there is no such file."""
        facts = os.stat(file)
        key = str(file), facts.st_size, facts.st_mtime_ns, what
        if self._key != key:
            self._key = self._made = None  # not two at once
            self._made, self._key = make(), key
        return self._made
