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
from src.models.neighbours import load_trained
from src.targets import TargetType


def refuse_brought_features(config: Config, folder: Path) -> None:
    """Raises Problem where a run's network is not at hand, as `probe.features` brings what it saw and not itself."""
    if config.probe.features is not None:
        raise Problem(
            f"{folder} holds a head on the features of probe.features={config.probe.features}, and no network: images, "
            f"views and sizes that they do not hold cannot be predicted, exported, explained or learned from. "
            f"Bring features of them, or fit the probe on a network, without probe.features",
            code="no-network",
        )


@dataclass(frozen=True)
class Member:
    """One trained fold of one seed; `folder` has its weights."""

    seed: int
    fold: int | str
    folder: Path


def trained_network(config: Config, folder: Path, classes: int, target: TargetType) -> tuple[Network, str]:
    """The network in a seed's and fold's `folder`, on the CPU, and the SHA-256 of its weights.

    Raises Problem where the file is damaged, or is not the one that training left, and where there is no network: a
    probe on features of another program has a last layer alone.
    """
    refuse_brought_features(config, folder)
    file, remedy = folder / "model.safetensors", f"delete {folder} and train the fold again"
    network = build(config.model, classes, config.images.size, target, load=False)
    try:
        load_trained(network.backbone, load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise Problem(f"{file} cannot be used ({type(error).__name__}): {remedy}", code="weights-damaged") from None
    weights = sha256_of(file)
    if weights != read_json(folder / DONE)["weights"]:
        raise Problem(f"{file} was changed after training: {remedy}", code="weights-changed")
    return network, weights
