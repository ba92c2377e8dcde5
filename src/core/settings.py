"""What a training sets in torch and OpenCV for its whole process."""

import contextlib
from collections.abc import Iterator

import cv2
import torch


@contextlib.contextmanager
def settings_restored() -> Iterator[None]:
    """After the block torch and OpenCV are set as before it: what follows in this process computes, to the last bit, as
    it would in one of its own. What is free of a GPU's memory is given back."""
    threads, threads_of_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    benchmark, randomness = torch.backends.cudnn.benchmark, torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads_of_cv2)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(randomness)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
