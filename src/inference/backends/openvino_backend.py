"""OpenVINO runs a trained network on the processor, in fp32, bf16 or int8. Both packages are asked for when needed."""

import contextlib
import io
import logging
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from src.config.image_size import SizeWord
from src.core.errors import Problem
from src.inference.backends import BACKENDS
from src.inference.backends.backend import ANSWERING, Backend, Engine, explain_library_errors
from src.inference.backends.torch_export import input_shape, traced

NAME = "openvino"
NEEDED = {"fp32": ("openvino",), "bf16": ("openvino",), "int8": ("openvino", "nncf")}
CAPABILITY = {"fp32": "FP32", "bf16": "BF16", "int8": "INT8"}
RECIPE = 2  # of `quantised`
CALIBRATED = 16  # images that the ranges are taken from at a time
CHUNK = {"fp32": 16, "bf16": 16, "int8": 32}  # images a request: what a convolution leaves of them stays near the core


@BACKENDS.register("openvino")
class OpenVino(Backend):
    precisions = tuple(NEEDED)
    calibrated = ("int8",)

    def lacking(self, device: str, precision: str) -> str | None:
        absent = [package for package in NEEDED[precision] if find_spec(package) is None]
        if absent:
            return f"the package {absent[0]} is not installed (pip install {' '.join(NEEDED[precision])})"
        try:
            able = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        except (ImportError, RuntimeError) as error:
            return f"OpenVINO is installed and cannot be loaded ({' '.join(str(error).split())[:200]})"
        if CAPABILITY[precision] not in able:
            return f"OpenVINO finds no {precision} in this processor"
        return None

    def versions(self) -> dict[str, str]:
        found = {"recipe": str(RECIPE)}
        for package in ("torch", *NEEDED["int8"]):
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        return found

    def converted(self, network: nn.Module, size: SizeWord) -> Any:
        """An openvino.Model of a network: (n, height, width, 3) uint8 in, (n, classes) float32 logits out.

        Raises Problem where OpenVINO does not know one of its layers.
        """
        ov = _openvino()
        try:
            model = ov.convert_model(traced(network, size))
        except Exception as error:  # of whatever kind the converter's own errors are
            raise Problem(
                f"OpenVINO cannot run this network: {' '.join(str(error).split())[:200]}", code="backend-failed"
            ) from None
        model.reshape([-1, *input_shape(network, size)])
        steps = ov.preprocess.PrePostProcessor(model)
        # As the images lie in memory: no copy turns them around.
        steps.input().tensor().set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        return steps.build()

    def quantised(self, model: Any, images: np.ndarray) -> Any:
        """`model` in int8, its ranges taken from `images` (n, height, width, 3) uint8, which must be training rows."""
        nncf = _nncf()
        # The whole range of what is seen, and biases corrected with care: nncf's own defaults moved the probabilities
        # of a ResNet twice as far. Another way must raise RECIPE, so that kept networks are made anew.
        ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
        advanced = nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges)
        parts = [images[start : start + CALIBRATED] for start in range(0, len(images), CALIBRATED)]
        with contextlib.redirect_stdout(io.StringIO()):  # bars of its own
            return nncf.quantize(
                model,
                nncf.Dataset(parts),
                subset_size=len(parts),
                fast_bias_correction=False,
                advanced_parameters=advanced,
            )

    def to_arrays(self, model: Any) -> dict[str, np.ndarray]:
        """The model as two arrays of bytes, for a file."""
        with tempfile.TemporaryDirectory() as folder:
            graph, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
            _openvino().serialize(model, graph, weights)
            return {"graph": np.fromfile(graph, np.uint8), "weights": np.fromfile(weights, np.uint8)}

    def from_arrays(self, graph: np.ndarray, weights: np.ndarray) -> Any:
        return _openvino().Core().read_model(model=graph.tobytes(), weights=weights.tobytes())

    def ready(self, model: Any, engine: Engine, batch: int) -> nn.Module:
        return OpenVinoNetwork(model, engine, batch)


class OpenVinoNetwork(nn.Module):
    """A model made ready for this processor, to be called as the torch network is: uint8 images in, logits out."""

    def __init__(self, model: Any, engine: Engine, batch: int) -> None:
        """batch: images of one call, to be dealt out to `torch.get_num_threads()` cores."""
        super().__init__()
        self.engine, precision = engine, engine.precision
        ov, threads = _openvino(), torch.get_num_threads()
        self.chunk = max(1, min(CHUNK[precision], -(-batch // threads)))
        model = model.clone()
        model.reshape([self.chunk, *[side.get_length() for side in list(model.input(0).partial_shape)[1:]]])
        how = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": threads,
            # Never left to OpenVINO, which takes bf16 where the processor has it. Of int8 it is what is not quantised.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        self.compiled = ov.Core().compile_model(model, "CPU", how)
        self.requests = ov.AsyncInferQueue(self.compiled)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        answers = np.empty((len(pixels), self.compiled.output(0).shape[1]), np.float32)

        def keep(request: Any, start: int) -> None:
            text = request.get_output_tensor().data
            answers[start : start + self.chunk] = text[: len(answers) - start]

        self.requests.set_callback(keep)
        with explain_library_errors(self.engine, ANSWERING):
            for start in range(0, len(pixels), self.chunk):
                part = pixels[start : start + self.chunk]
                if len(part) < self.chunk:  # the last one: every request has one shape, and so one way of rounding
                    part = np.concatenate([part, np.repeat(part[-1:], self.chunk - len(part), axis=0)])
                self.requests.start_async({0: part}, start)
            self.requests.wait_all()
        return torch.from_numpy(answers)


def _openvino() -> ModuleType:
    """The library without its telemetry, which sends unless it was opted out of, or is not there to be imported."""
    if NAME not in sys.modules:
        sys.modules["openvino_telemetry"] = None
    import openvino

    return openvino


def _nncf() -> ModuleType:
    _openvino()
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
