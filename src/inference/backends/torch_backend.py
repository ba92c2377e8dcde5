"""torch itself, as in training."""

from contextlib import AbstractContextManager
from importlib.metadata import version

import torch
from torch import nn

from src.inference.backends import BACKENDS
from src.inference.backends.backend import Backend, Engine


@BACKENDS.register("torch")
class Torch(Backend):
    devices = ("cpu", "cuda", "mps")
    precisions = ("fp32", "bf16")

    def lacking(self, device: str, precision: str) -> str | None:
        if precision == "fp32":
            return None
        if device == "cuda":
            able = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            able = device == "cpu" and torch.backends.mkldnn.is_available()
            able = able and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return None if able else "this processor has none"

    def autocast(self, engine: Engine) -> AbstractContextManager:
        return engine.autocast()

    def versions(self) -> dict[str, str]:
        return {"torch": version("torch")}

    def ready(self, model: nn.Module, engine: Engine, batch: int) -> nn.Module:
        return model.to(engine.device, memory_format=torch.channels_last)
