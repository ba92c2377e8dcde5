"""How many images fit into memory at once, found by trying."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from src.core.errors import Problem


def out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch ran out of memory, on a GPU or on a CPU."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in text for word in words))


def fits(attempt: Callable[[], object]) -> bool:
    """Whether `attempt` runs without running out of memory. Any other error is raised."""
    try:
        attempt()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return False
    return True


@contextmanager
def explain_out_of_memory(name: str) -> Iterator[None]:
    """Within the block, memory that does not suffice is a Problem of `name`, which says how to go on."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        if out_of_memory(error):
            raise Problem(
                f"{name}: out of memory ({reason}). The same command goes on from the last checkpoint once no other "
                f"program holds that memory; or begin another run=NAME with a smaller train.batch or images.size",
                code="out-of-memory",
            ) from None
        if "DataLoader worker" in str(error):
            raise Problem(
                f"{name}: a process that loads images was killed ({reason}). The same command goes on from the last "
                f"checkpoint: give machine.workers=0, or allow more shared memory (docker run --shm-size=2g)",
                code="process-lost",
            ) from None
        raise


def largest_batch(attempt: Callable[[int], object], most: int) -> int:
    """The largest batch up to `most` for which `attempt` fits, by bisection; 0 where not even one image does.

    To be called outside of the `except` of a failed attempt: its traceback holds on to the memory.
    """
    if fits(lambda: attempt(most)):
        return most
    low, high = 0, most  # low fits (or is 0), high does not
    while high - low > max(1, low // 32):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(lambda middle=middle: attempt(middle)) else (low, middle)
    return low
