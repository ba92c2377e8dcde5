"""What a training sets in torch and OpenCV for its whole process."""

import contextlib
import gc
import random
from collections.abc import Iterator

import cv2
import numpy as np
import torch


@contextlib.contextmanager
def settings_restored() -> Iterator[None]:
    """After the block torch and OpenCV are set as before it, and random numbers go on from there: what follows in this
    process computes, to the last bit, as it would in one of its own. What is free of a GPU's memory is given back."""
    threads, threads_of_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    benchmark, randomness = (
        torch.backends.cudnn.benchmark,
        (torch.get_rng_state(), np.random.get_state(), random.getstate()),
    )
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads_of_cv2)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(randomness[0])
        np.random.set_state(randomness[1])
        random.setstate(randomness[2])
        if torch.cuda.is_initialized():
            gc.collect()  # what a training leaves in circles holds memory there
            torch.cuda.empty_cache()
