"""The file of an export: the weights of every model and, as one JSON text in its metadata, all that predicting needs.

Tensors are named `seed0.fold0.` and then as in the network. `probe.seed0.fold0` (2, classes) float32 holds what that
model answers to two made-up pictures, so that any machine can see whether it builds the same network.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from src.config.image_size import SizeWord
from src.config.schema import Model, Section
from src.core.errors import Problem

VERSION = 1  # of this format
KEY = "podium"  # of the metadata
PROBE = "probe."
LATER = (
    "tiles",
    "bag_size",
    "slices",
    "folders",
    "frames",
    "bands",
)  # keys of the pixels that came later

Tensors = dict[str, torch.Tensor]


class Pixels(Section):
    """trained: the size that training saw. size: the one that is predicted at. load_side: the one an image is first
    brought to. decoder: the version of the decoder that made the pixels."""

    trained: SizeWord
    size: SizeWord
    load_side: SizeWord
    fit: str
    prepare: list[str]
    decoder: int
    format: dict[str, Any] | None = None  # of the pixels, see PixelFormat.to_json; None for ordinary pictures
    tiles: str | None = None  # rows and columns, such as 2x4, that each picture is cut into
    bag_size: int | None = None  # images of an answer that are seen at once; None: each has one
    slices: int | None = None  # images of an answer that make up a picture; None: one
    frames: bool | None = None  # true: the frames of a file are the images of an answer
    # What tells the files of a folder apart that are the channels of one picture; true: older files do not say it.
    bands: list[str] | bool | None = None
    folders: bool | None = None  # true: an answer is of several files, and a folder holds those of one


class OneModel(Section):
    """weights: SHA-256 of the file that training wrote."""

    seed: int
    fold: int | str
    weights: str

    @property
    def name(self) -> str:
        return f"seed{self.seed}.{self.fold if isinstance(self.fold, str) else f'fold{self.fold}'}"


class Score(Section):
    """Out of fold, with its 95 % interval; None where there is none."""

    metric: str
    value: float | None
    low: float | None
    high: float | None


class Facts(Section):
    """Everything but the weights. shares: of the training rows, by class. decision: see Decision.to_json.

    never_empty: of several classes, at least one is always answered. precision: as the stored logits were made in;
    stored: as the weights lie in the file.
    """

    version: Literal[1]
    competition: str
    run: str
    classes: list[str]
    shares: list[float]
    target: str | dict[str, Any]
    model: Model
    models: list[OneModel] = Field(min_length=1)
    images: Pixels
    views: list[str] = Field(min_length=1)
    batch: int
    precision: Literal["fp32", "bf16", "fp16"]
    stored: Literal["exact", "fp16"]
    decision: dict[str, Any] | None
    never_empty: bool
    score: Score
    config_hash: str
    commit: str
    packages: dict[str, str]


def write_export(path: Path, facts: Facts, tensors: Tensors) -> None:
    """Write the file, the same bytes for the same contents. Raises OSError or Problem where the disk is full."""
    tree = {"facts": facts.model_dump(mode="json"), "sha256": _digest(facts, tensors)}
    try:
        save_file(tensors, path, {KEY: json.dumps(tree, ensure_ascii=False)})
    except SafetensorError as error:
        raise Problem(f"{path}: {error}: free some space and give the same command again", code="disk-full") from None


def read_export(path: Path) -> tuple[Facts, Tensors]:
    """The contents of the file, held against its checksum.

    Raises Problem where it is absent, damaged, changed, of another version or no export.
    """
    if not path.is_file():
        raise Problem(
            f"{path}: there is no such file. One is written by: python -m src.predict --export run=NAME",
            code="no-such-file",
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise Problem(
            f"{path} is damaged, or no safetensors file ({error}): copy it again", code="damaged-file"
        ) from None
    facts, digest = _facts(path, metadata.get(KEY))
    if _digest(facts, tensors) != digest:
        raise Problem(
            f"{path} was changed or damaged after it was written (its checksum differs): copy it again",
            code="changed-file",
        )
    return facts, tensors


def _facts(path: Path, text: str | None) -> tuple[Facts, str]:
    if text is None:
        raise Problem(
            f"{path} holds weights, but nothing of how to predict with them: python -m src.predict --export run=NAME "
            f"writes a file that does",
            code="not-an-export",
        )
    try:
        tree = json.loads(text)
        version = tree["facts"]["version"]
        if version == VERSION:
            return Facts.model_validate_json(json.dumps(tree["facts"])), tree["sha256"]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise Problem(
            f"{path}: its metadata were changed or are of other code: {key}: {first['msg']}", code="damaged-file"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(
            f"{path}: its metadata cannot be read ({type(error).__name__}): copy it again", code="damaged-file"
        ) from None
    raise Problem(
        f"{path} is an export of version {version!r}, this code reads {VERSION}: export the run anew",
        code="export-version",
    )


def _digest(facts: Facts, tensors: Tensors) -> str:
    """SHA-256 of the facts and of every tensor's name, kind, shape and bytes."""
    tree = facts.model_dump(mode="json")
    for key in LATER:
        if tree["images"][key] is None:  # as in files that are older than the key
            del tree["images"][key]
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
