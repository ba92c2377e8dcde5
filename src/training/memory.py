"""How many images fit into memory at once, found by trying."""

from collections.abc import Callable


def out_of_memory(error: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU or on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError | RuntimeError) and any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def largest_batch(attempt: Callable[[int], None], most: int) -> int:
    """The largest batch up to `most` for which `attempt` does not run out of memory; 0 where not even one fits."""

    def fits(batch: int) -> bool:
        try:
            attempt(batch)
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                return False
            raise
        return True

    if fits(most):
        return most
    low, high = 0, most  # low fits (or is 0), high does not
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
