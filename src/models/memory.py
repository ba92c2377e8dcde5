"""How many images fit into memory at once, found by trying."""

from collections.abc import Callable


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
