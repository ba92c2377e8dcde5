"""ONNX Runtime runs a trained network on a CPU or an NVIDIA GPU, in fp32 or int8. It is imported when needed.

From 1.29 on it numbers the machine and sends how it is used, as soon as it is imported, unless this process was told
not to before: that is why the variable is set here, and no other module may import it.
"""

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from src.config.image_size import SizeWord
from src.core.errors import Problem
from src.inference.backends import BACKENDS
from src.inference.backends.backend import ANSWERING, Backend, Engine, explain_library_errors
from src.inference.backends.torch_export import traced

PACKAGES = ("onnxruntime", "onnx", "onnxscript")  # what runs, what quantises, what torch's exporter is written with
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
RECIPE = 1  # of `quantised`
CHUNK = 32  # images of one request
CALIBRATED = 20  # images that the ranges are taken from at a time

Graph = bytes  # an ONNX model, serialised

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@BACKENDS.register("onnxruntime")
class OnnxRuntime(Backend):
    devices = tuple(PROVIDERS)
    precisions = ("fp32", "int8")
    calibrated = ("int8",)

    def lacking(self, device: str, precision: str) -> str | None:
        absent = [package for package in PACKAGES if find_spec(package) is None]
        if absent:
            return f"the package {absent[0]} is not installed (pip install {' '.join(PACKAGES)})"
        try:
            able = _onnxruntime().get_available_providers()
        except ImportError as error:
            return f"ONNX Runtime is installed and cannot be loaded ({' '.join(str(error).split())[:200]})"
        if PROVIDERS[device] not in able:
            return f"this ONNX Runtime has no {PROVIDERS[device]} (pip install onnxruntime-gpu)"
        return None

    def versions(self) -> dict[str, str]:
        found = {"recipe": str(RECIPE)}
        for package in ("torch", *PACKAGES):
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    def converted(self, network: nn.Module, size: SizeWord) -> Graph:
        """A network as ONNX: `images` (n, 3, height, width) uint8 in, (n, classes) float32 logits out.

        Raises Problem where torch cannot export one of its layers.
        """
        try:
            with _quiet():
                program = torch.onnx.export(traced(network, size), input_names=["images"], verbose=False)
        except Exception as error:  # of whatever kind the exporter's own errors are
            raise Problem(
                f"the network cannot be written as ONNX: {' '.join(str(error).split())[:200]}", code="backend-failed"
            ) from None
        return program.model_proto.SerializeToString()

    def quantised(self, model: Graph, images: np.ndarray) -> Graph:
        """`model` in int8, its ranges taken from `images` (n, height, width, 3) uint8, which must be training rows."""
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        pixels = images.transpose(0, 3, 1, 2)
        parts = [pixels[start : start + CALIBRATED] for start in range(0, len(pixels), CALIBRATED)]

        class Images(quantization.CalibrationDataReader):
            def __init__(self) -> None:
                self.left = iter(parts)

            def get_next(self) -> dict[str, np.ndarray] | None:
                part = next(self.left, None)
                return None if part is None else {"images": np.ascontiguousarray(part)}

        with tempfile.TemporaryDirectory() as folder, _quiet():
            plain, ready, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "made"))
            plain.write_bytes(model)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            # Unsigned activations: with signed ones a convolution takes four times as long.
            quantization.quantize_static(
                ready,
                made,
                Images(),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return made.read_bytes()

    def to_arrays(self, model: Graph) -> dict[str, np.ndarray]:
        """The model as an array of bytes, for a file."""
        return {"graph": np.frombuffer(model, np.uint8)}

    def from_arrays(self, graph: np.ndarray) -> Graph:
        return graph.tobytes()

    def ready(self, model: Graph, engine: Engine, batch: int) -> nn.Module:
        return OnnxNetwork(model, engine, batch)


class OnnxNetwork(nn.Module):
    """A model made ready for this processor, to be called as the torch network is: uint8 images in, logits out."""

    def __init__(self, model: Graph, engine: Engine, batch: int) -> None:
        """batch: images of one call, to be dealt out to `torch.get_num_threads()` cores."""
        super().__init__()
        self.engine = engine
        ort, threads = _onnxruntime(), torch.get_num_threads() if engine.device == "cpu" else 1
        self.chunk = max(1, min(CHUNK, -(-batch // threads)))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # a core a request
        options.log_severity_level = 3  # errors
        self.session = ort.InferenceSession(model, options, providers=[PROVIDERS[engine.device]])
        if self.session.get_providers()[0] != PROVIDERS[engine.device]:  # it falls back to the CPU in silence
            raise Problem(
                f"ONNX Runtime cannot use this {engine.device}: its libraries are not found or of other versions",
                code="backend-unavailable",
            )
        self.pool = ThreadPoolExecutor(threads)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.cpu().numpy()
        starts = range(0, len(pixels), self.chunk)
        with explain_library_errors(self.engine, ANSWERING):
            parts = list(self.pool.map(lambda start: self._answer(pixels[start : start + self.chunk]), starts))
        return torch.from_numpy(np.concatenate(parts)).to(images.device)

    def _answer(self, part: np.ndarray) -> np.ndarray:
        count = len(part)
        if count < self.chunk:  # every request has one shape, and so one way of rounding
            part = np.concatenate([part, np.repeat(part[-1:], self.chunk - count, axis=0)])
        (logits,) = self.session.run(None, {"images": np.ascontiguousarray(part)})
        return logits[:count]


def _onnxruntime() -> ModuleType:
    import onnxruntime

    return onnxruntime


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress, and both warn of what is of no use to who predicts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
