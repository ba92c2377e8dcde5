"""The base class of what runs a network at prediction: the library, its precisions, and its devices."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from src.config.image_size import SizeWord
from src.core.errors import Problem
from src.core.memory import out_of_memory
from src.core.registry import Configurable

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
TORCH = "torch"


@dataclass(frozen=True)
class Engine:
    """Recorded with every table of logits: what is fitted out of fold is applied to test logits of the same engine."""

    device: str
    precision: str
    name: str = TORCH

    def autocast(self) -> AbstractContextManager:
        """What torch's own passes are made in."""
        dtype = DTYPES.get(self.precision)
        return torch.autocast(self.device, dtype=dtype) if dtype else nullcontext()

    @property
    def place(self) -> str:
        """The name of its folder among a member's logits."""
        return f"{self.name}-{self.precision}"

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


ANSWERING = "failed while it answered (predict.engine=torch answers in its place)"


@contextmanager
def explain_library_errors(engine: Engine, failed: str) -> Iterator[None]:
    """What the library raises becomes a Problem, for another engine may do.

    So does a lack of memory, which may also show while a network is made ready, where no smaller batch can be tried.
    """
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # each package has kinds of its own
        text = " ".join(str(error).split())[:200] or type(error).__name__
        if out_of_memory(error):
            text += ". A smaller predict.batch needs less"
        raise Problem(f"{engine} {failed}: {text}", code="backend-failed") from None


class Backend(Configurable):
    """A library that answers in torch's place. It is tried, and held to what torch says, before it is used.

    devices: those that it can run on, as machine.device names them: on it lie the images that its networks get.
    precisions: what it may be asked for. calibrated: those whose networks take training images to be made, and are
    kept. One that has none of them defines `ready` alone, and gets the trained network itself as `model`.
    """

    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    calibrated: ClassVar[tuple[str, ...]] = ()

    def lacking(self, device: str, precision: str) -> str | None:
        """What stands against this precision on this machine, and the remedy; None where nothing does."""
        return None

    def autocast(self, engine: Engine) -> AbstractContextManager:
        """Held around its networks' passes."""
        return nullcontext()

    def versions(self) -> dict[str, str]:
        """Of what a converted network depends on; without what is not installed."""
        return {}

    def converted(self, network: nn.Module, size: SizeWord) -> Any:
        """A trained network in the library's own form. Raises Problem where one of its layers is unknown to it."""
        return network

    def quantised(self, model: Any, images: np.ndarray) -> Any:
        """`model` in a calibrated precision, its ranges taken from (n, height, width, 3) uint8 training images."""
        raise NotImplementedError(f"{type(self).__name__} calibrates nothing")

    def to_arrays(self, model: Any) -> dict[str, np.ndarray]:
        """A quantised model as arrays of bytes, for a file."""
        raise NotImplementedError(f"{type(self).__name__} keeps nothing")

    def from_arrays(self, **arrays: np.ndarray) -> Any:
        """The same, read back."""
        raise NotImplementedError(f"{type(self).__name__} keeps nothing")

    def ready(self, model: Any, engine: Engine, batch: int) -> nn.Module:
        """A model that is called as the torch network is: (n, 3, s, s) uint8 images in, logits out; `batch` at once."""
        raise NotImplementedError(f"{type(self).__name__} defines no ready")
