"""Weights for a network: published ones, or those of a local file. Never a silent start from scratch.

Published weights are looked for in this order: the cache of timm's hub on this machine, an installed package that
carries them (so that nobody waits for the hub), and the hub, if it answers within some seconds.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from src.core.errors import Problem
from src.models.embedded import embedded_of

HEADS = ("fc", "classifier.6", "classifier", "head.fc", "head")  # timm's and torchvision's names of the last layer
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there is what timm takes
PATIENCE = 5.0  # seconds within which the hub must answer; its client tries for most of a minute
KNOCK = """
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD")).close()
except urllib.error.HTTPError:
    pass  # any answer is an answer
except Exception:
    sys.exit(1)
"""


@dataclass(frozen=True)
class Published:
    """Where the published weights of a network are. origin: for a message. create: as timm.create_model."""

    name: str
    origin: str
    licence: str
    create: Callable[..., nn.Module]

    def __str__(self) -> str:
        return f"{self.name} begins with published weights: {self.origin}, licence {self.licence}"


def published(name: str) -> Published | None:
    """The published weights of the network `name` that can be had now; None where there are none.

    Waits for the hub for PATIENCE seconds at most, once in a process, and does not ask where HF_HUB_OFFLINE is set.
    """
    if not timm.is_model_pretrained(name):
        return None
    config, embedded = timm.get_pretrained_cfg(name), embedded_of(name)
    licence = config.license or "not told"
    if _is_cached(config.hf_hub_id):
        return Published(name, f"{config.hf_hub_id} in the cache of timm's hub", licence, _from_hub)
    if embedded:
        return Published(name, f"the package {embedded.package}", embedded.licence, _from_package)
    if _answers(config.hf_hub_id):
        return Published(name, f"{config.hf_hub_id} of timm's hub", licence, _from_hub)
    return None


def from_published(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The network with its published weights. Raises Problem, with both remedies, where they cannot be had."""
    return weights_or_refusal(name).create(name, classes, arguments)


def weights_or_refusal(name: str) -> Published:
    """As `published`, and Problem where that finds nothing."""
    if not timm.is_model_pretrained(name):
        raise Problem(
            f"model.pretrained=true: timm has no weights for {name}. Choose another network, or model.pretrained=false",
            code="no-pretrained-weights",
        )
    found = published(name)
    if found is None:
        raise _unreachable(name, "the hub does not answer")
    return found


def _from_hub(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or _is_cached(timm.get_pretrained_cfg(name).hf_hub_id)
    try:
        return timm.create_model(name, pretrained=True, num_classes=classes, **arguments)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise _unreachable(name, f"they could not be fetched or read ({type(error).__name__})") from None
    finally:
        constants.HF_HUB_OFFLINE = before


def _from_package(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    state = embedded_of(name).tensors(timm.create_model(name))
    overlay = {"state_dict": state}
    return timm.create_model(name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **arguments)


def _unreachable(name: str, reason: str) -> Problem:
    return Problem(
        f"no pretrained weights for {name}: {reason} and no copy is cached. Either connect to the network once, or "
        f"bring a file: model.weights=PATH (.safetensors or .pth)",
        code="weights-unreachable",
    )


def _is_cached(hub: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = (hub or "").partition("@")
    return bool(repository) and any(
        isinstance(try_to_load_from_cache(repository, file, revision=revision or None), str) for file in HUB_FILES
    )


def _answers(hub: str | None) -> bool:
    from huggingface_hub import constants

    if not hub or constants.HF_HUB_OFFLINE:
        return False
    repository, _, revision = hub.partition("@")
    return _knock(f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{HUB_FILES[0]}")


@cache
def _knock(address: str) -> bool:
    """Whether anything is answered, in a process that can be ended: to look a name up has no limit of time."""
    try:
        return subprocess.run([sys.executable, "-c", KNOCK, address], timeout=PATIENCE, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


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
        raise Problem(
            f"model.weights={path} does not hold the weights of {name}: {reason}", code="weights-mismatch"
        ) from None
    if in_file != classes:
        backbone.reset_classifier(classes)
    return backbone


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise Problem(f"model.weights={path}: there is no such file", code="no-such-file")
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
            f"{type(error).__name__}",
            code="bad-weights-file",
        ) from None
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Problem(
            f"model.weights={path} holds more than weights: save the network's state_dict alone",
            code="bad-weights-file",
        )
    return state
