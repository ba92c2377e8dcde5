"""Weights for a network: published ones, or those of a local file. Never a silent start from scratch.

Published weights are looked for in this order: the cache of timm's hub on this machine, an installed package that
carries them (so that nobody waits for the hub), and the hub, if it answers within some seconds.
"""

import pickle
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from src.core.errors import Problem
from src.core.files import sha256_of
from src.models.embedded import embedded_of
from src.models.hub import HUB, WEIGHTS, cached, obtained, unreachable

MISMATCH = (RuntimeError, KeyError, AttributeError, IndexError, ValueError)  # what timm raises where tensors do not fit
HEADS = ("fc", "classifier.6", "classifier", "head.fc", "head")  # of last layers in files of others than timm


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
    """The published weights of the network `name`, brought here; None where there are none.

    Fetches them from the hub where it answers and sends: see `hub.obtained`.
    """
    if not timm.is_model_pretrained(name):
        return None
    config, embedded = timm.get_pretrained_cfg(name), embedded_of(name)
    licence, repository = config.license or "not told", config.hf_hub_id or ""
    if repository and cached(repository, WEIGHTS):
        return Published(name, f"{repository} in the cache of timm's hub", licence, _from_cache)
    if embedded:
        return Published(name, f"the package {embedded.package}", embedded.licence, _from_package)
    if repository and obtained(repository, WEIGHTS):
        return Published(name, f"{repository} of timm's hub", licence, _from_cache)
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
        raise unreachable(name, "the hub does not answer")
    return found


def _from_package(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    state = embedded_of(name).tensors(timm.create_model(name))
    overlay = {"state_dict": state}
    return timm.create_model(name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay, **arguments)


def _from_cache(name: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    file = cached(timm.get_pretrained_cfg(name).hf_hub_id, WEIGHTS)
    return _begun(name, file, _of_hub(file), classes, arguments)


def from_repository(name: str, word: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The network with the weights of `hf-hub:owner/name`. Raises Problem where they cannot be had, as `from_file`."""
    file = obtained(word.removeprefix(HUB), WEIGHTS)
    if file is None:
        raise unreachable(word, "the hub does not answer, or has none in a safe format")
    return _begun(name, file, _of_hub(file), classes, arguments)


def from_file(name: str, path: str, classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The network with a file's weights; a last layer of another size is replaced by a new one.

    Raises Problem where the file is absent, unsafe, or belongs to another network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise Problem(f"model.weights={path}: there is no such file", code="no-such-file")
    return _begun(name, file, _tensors(file, f"model.weights={path}", "bad-weights-file"), classes, arguments)


def _begun(name: str, file: Path, state: dict[str, torch.Tensor], classes: int, arguments: dict[str, Any]) -> nn.Module:
    """The network with these weights, every one of which must find its place: only the last layer may be another."""
    in_file = next((len(state[f"{head}.weight"]) for head in _heads(name) if f"{head}.weight" in state), 0)
    overlay = {"state_dict": state, "num_classes": in_file}
    create = partial(timm.create_model, name, pretrained=True, num_classes=in_file, pretrained_cfg_overlay=overlay)
    try:
        backbone = create(**arguments)
    except MISMATCH as error:
        timm.create_model(name, num_classes=classes, **arguments)  # where the arguments are at fault, this tells it
        _refuse_other_size(name, file, create, arguments)
        reason = _difference(name, state, arguments) or " ".join(str(error).split())[:200]
        raise Problem(f"{file} does not hold the weights of {name}: {reason}", code="weights-mismatch") from None
    if in_file != classes:
        backbone.reset_classifier(classes)
    return backbone


def _difference(name: str, state: dict[str, torch.Tensor], arguments: dict[str, Any]) -> str:
    """How many of a network's tensors a file lacks or has in another shape; nothing where it has them all."""
    wanted = timm.create_model(name, **arguments).state_dict()
    last = tuple(f"{head}." for head in _heads(name))
    asked = [key for key in wanted if not key.startswith(last) and not key.endswith("num_batches_tracked")]
    unfit = [key for key in asked if key not in state or state[key].shape != wanted[key].shape]
    if not unfit:
        return ""
    shape = f"{tuple(state[unfit[0]].shape)} there" if unfit[0] in state else "not there"
    return f"{len(unfit)} of {len(asked)} tensors are missing or of another shape, the first {unfit[0]}, {shape}"


def _refuse_other_size(name: str, file: Path, create: Callable[..., nn.Module], arguments: dict[str, Any]) -> None:
    """Raises Problem where the weights fit the network's own size, and cannot be resampled for the one asked for."""
    plain = {key: value for key, value in arguments.items() if key != "img_size"}
    if plain == arguments:
        return
    with suppress(*MISMATCH):
        create(**plain)
        own = timm.get_pretrained_cfg(name).input_size[-1]
        raise Problem(
            f"{file}: the weights of {name} are made for images of {own} pixels, and cannot be resampled for others: "
            f"give images.size={own}",
            code="bad-image-size",
        )


def _heads(name: str) -> tuple[str, ...]:
    """The names that the last layer of a network may have in a file, timm's own first."""
    told = timm.get_pretrained_cfg(name, allow_unregistered=True)
    known = told.classifier if told else None
    return (*((known,) if isinstance(known, str) else known or ()), *HEADS)


def _of_hub(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of the hub's cache, whose copies are called by their checksums."""
    remedy = f"delete {file}, so that it is fetched anew"
    named = file.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", named) and _sha256(file.resolve(), file.stat().st_mtime_ns) != named:
        raise Problem(f"{file} is not what the hub sent: {remedy}", code="weights-damaged")
    return _tensors(file, str(file), "weights-damaged", remedy)


@cache
def _sha256(file: Path, changed: int) -> str:
    """changed: when, so that a file of another time is read again."""
    return sha256_of(file)


def _tensors(file: Path, said: str, code: str, remedy: str = "") -> dict[str, torch.Tensor]:
    """What a file of weights holds. said: the file, in the words of a message."""
    try:
        state = load_state_dict(str(file), weights_only=True)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        OSError,
    ) as error:
        raise Problem(
            f"{said} holds no plain weights (.safetensors, or .pth of tensors only): {type(error).__name__}"
            f"{': ' + remedy if remedy else ''}",
            code=code,
        ) from None
    if not state:  # timm would look for others
        raise Problem(f"{said} holds no weights", code=code)
    if not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise Problem(f"{said} holds more than weights: save the network's state_dict alone", code=code)
    return state
