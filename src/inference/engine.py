"""What runs a network at prediction: the device, the precision, and the feed of images."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Engine:
    """Recorded with every table of logits: what is fitted out of fold is applied to test logits of the same engine."""

    device: str
    precision: str
    name: str = "torch"

    def autocast(self) -> AbstractContextManager:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device, dtype=DTYPES[self.precision])
