"""The weights of an exported file become networks, on whatever machine this is."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from src.config.image_size import Size, SizeWord
from src.core.errors import Problem, UsageError
from src.export.export_file import PROBE, Facts, OneModel, Tensors
from src.inference.backends.backend import Engine
from src.inference.predictor import view_logits
from src.models.factory import Network, build
from src.models.neighbours import load_trained
from src.targets import target_type

PROBE_TOLERANCE = 0.02  # of the largest logit: what another processor or library makes of single precision


def probe_logits(network: Network, size: SizeWord) -> torch.Tensor:
    """(2, classes) float32 on the CPU: what a network says in single precision of a slope and of its mirror image."""
    height, width = Size.of(size).shape
    y, x = np.mgrid[:height, :width]
    slope = np.stack([255 * x // width, 255 * y // height, 255 * x * y // (height * width)]).astype(np.uint8)
    slope = slope[np.arange(network.planes) % len(slope)]
    images = torch.from_numpy(np.stack([slope, 255 - slope[:, ::-1]])).to(network.mean.device)
    rows = np.arange(2)
    return torch.from_numpy(
        view_logits(network, lambda _: [(images, rows)], rows, ("identity",), 2, nullcontext)["identity"]
    )


def network_of(path: Path, facts: Facts, model: OneModel, tensors: Tensors, device: str) -> Network:
    """One model of the file, on `device`. Raises Problem where this machine builds another network of that name."""
    prefix = model.name + "."
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    network = build(facts.model, len(facts.classes), facts.images.trained, target_type(facts.target), load=False)
    try:
        load_trained(network.backbone, state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(
            f"{path}: the weights of {model.name} do not fit {facts.model.name}: {reason}", code="weights-mismatch"
        ) from None
    network.to(device, memory_format=torch.channels_last)
    text, known = probe_logits(network, facts.images.size), tensors[PROBE + model.name]
    away = float((text - known).abs().max() / known.abs().max().clamp(min=1))
    if not away <= PROBE_TOLERANCE:
        raise Problem(
            f"{path}: {model.name} answers otherwise here than where it was exported (by {away:.3g} of its largest "
            f"logit): this timm builds another network. It was made with {facts.packages}",
            code="export-differs",
        )
    return network


def engine_for(recorded: str, device: str | None, precision: str | None) -> Engine:
    """What predicts: `device` (None: the fastest here) and `precision` (None: the recorded one where the device can,
    else fp32). Raises UsageError for what is not here."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = device or next(name for name, there in present.items() if there)
    if not present.get(device):
        raise UsageError(
            f"device={device}: here are {', '.join(name for name, there in present.items() if there)}",
            code="no-such-device",
        )
    able = {"fp32"} | ({"bf16"} if device == "cpu" else {"fp16"})
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        able.add("bf16")
    if precision and precision not in able:
        raise UsageError(
            f"precision={precision}: {device} can do {', '.join(sorted(able))}", code="unsupported-precision"
        )
    return Engine(device, precision or (recorded if recorded in able else "fp32"))
