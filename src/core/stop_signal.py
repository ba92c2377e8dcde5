"""Ctrl-C and a scheduler's SIGTERM end a fold between two steps, after a checkpoint, so that no step is lost."""

import signal
import threading
from types import FrameType, TracebackType


class StopSignal:
    """Within the block the first signal is only noted in `asked`; a second one stops at once.

    once: False lets further signals pass: a launcher repeats them, and kills by itself what does not end in time.
    """

    def __init__(self, once: bool = True) -> None:
        self.asked, self.once = False, once
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self.once:
            raise KeyboardInterrupt
        self.asked = True
