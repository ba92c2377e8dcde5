"""Weights for a network: from timm's hub or from a local file. Never a silent start from scratch."""

import pickle
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from src.core.errors import Problem

HEADS = ("fc", "classifier.6", "classifier", "head.fc", "head")  # timm's and torchvision's names of the last layer


def from_hub(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The pretrained network from timm's hub or its local cache. Raises Problem with both remedies."""
    if not timm.is_model_pretrained(name):
        raise Problem(
            f"model.pretrained=true: timm has no weights for {name}. Choose another network, or model.pretrained=false"
        )
    _offline_if_unreachable()
    try:
        return timm.create_model(name, pretrained=True, num_classes=classes, **arguments)
    except (OSError, RuntimeError, ValueError) as error:
        raise Problem(
            f"no pretrained weights for {name}: the hub could not be reached and no copy is cached "
            f"({type(error).__name__}). Either connect to the network once, or bring a file: "
            f"model.weights=PATH (.safetensors or .pth)"
        ) from None


def from_file(name: str, path: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The network with a file's weights; a last layer of another size is replaced by a new one.

    Raises Problem where the file is absent, unsafe, or belongs to another network.
    """
    state = _read(Path(path).expanduser())
    head = next((head for head in HEADS if f"{head}.weight" in state), None)
    in_file = len(state[f"{head}.weight"]) if head else 0
    try:
        overlay = {"state_dict": state, "num_classes": in_file}
        backbone = timm.create_model(
            name, pretrained=True, num_classes=in_file, pretrained_cfg_overlay=overlay, **arguments
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise Problem(f"model.weights={path} does not hold the weights of {name}: {reason}") from None
    if in_file != classes:
        backbone.reset_classifier(classes)
    return backbone


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise Problem(f"model.weights={path}: there is no such file")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise Problem(
            f"model.weights={path} holds no plain weights (.safetensors, or .pth of tensors only): "
            f"{type(error).__name__}"
        ) from None
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Problem(f"model.weights={path} holds more than weights: save the network's state_dict alone")
    return state


def _offline_if_unreachable() -> None:
    """The hub's client tries for most of a minute before it gives up; one knock at the door takes seconds."""
    from huggingface_hub import constants

    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return  # any answer is an answer
    except (OSError, HTTPException):
        constants.HF_HUB_OFFLINE = True
