"""What runs a network at prediction: the library, its precision, and the device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from src.core.errors import Problem
from src.core.memory import out_of_memory

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
TORCH = "torch"


@dataclass(frozen=True)
class Engine:
    """Recorded with every table of logits: what is fitted out of fold is applied to test logits of the same engine."""

    device: str
    precision: str
    name: str = TORCH

    def autocast(self) -> AbstractContextManager:
        if self.name != TORCH or self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device, dtype=DTYPES[self.precision])

    @property
    def place(self) -> str:
        """The name of its folder among a member's logits."""
        return f"{self.name}-{self.precision}"

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


ANSWERING = "failed while it answered (predict.engine=torch answers in its place)"


@contextmanager
def library_errors_told(engine: Engine, failed: str) -> Iterator[None]:
    """What the library raises becomes a Problem, for another engine may do.

    So does a lack of memory, which may also show while a network is made ready, where no smaller batch can be tried.
    """
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # each package has kinds of its own
        told = " ".join(str(error).split())[:200] or type(error).__name__
        if out_of_memory(error):
            told += ". A smaller predict.batch needs less"
        raise Problem(f"{engine} {failed}: {told}") from None
