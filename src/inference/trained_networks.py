"""A trained member of a run, a seed and a fold, and its network, held to the weights that training noted."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from src.config.schema import Config
from src.core.errors import Problem
from src.core.files import read_json, sha256_of
from src.core.paths import DONE
from src.models.factory import Network, build


@dataclass(frozen=True)
class Member:
    """One trained fold of one seed; `folder` has its weights."""

    seed: int
    fold: int | str
    folder: Path


def trained_network(config: Config, folder: Path, classes: int) -> tuple[Network, str]:
    """The network in a seed's and fold's `folder`, on the CPU, and the SHA-256 of its weights.

    Raises Problem where the file is damaged, or is not the one that training left.
    """
    file, remedy = folder / "model.safetensors", f"delete {folder} and train the fold again"
    network = build(config.model, classes, config.images.size, load=False)
    try:
        network.backbone.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise Problem(f"{file} cannot be used ({type(error).__name__}): {remedy}", code="weights-damaged") from None
    weights = sha256_of(file)
    if weights != read_json(folder / DONE)["weights"]:
        raise Problem(f"{file} was changed after training: {remedy}", code="weights-changed")
    return network, weights
