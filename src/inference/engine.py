"""What runs a network at prediction: the library, its precision, and the device."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

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
