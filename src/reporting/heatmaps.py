"""Where in a few held-out images their own fold's network found a class."""

import numpy as np
import torch

from src.config.schema import Config
from src.core.errors import Problem
from src.images.bags import montage
from src.images.dataset import PlainRows
from src.inference.external_runs import is_external
from src.inference.trained_networks import trained_network
from src.models.factory import Network
from src.models.gradcam import bag_grad_cam, grad_cam
from src.reporting.run_results import RunResults
from src.reporting.tiles import images_across


def heat_of(results: RunResults, rows: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray | None], str]:
    """Maps (h, w) from 0 to 1, one for each of the held-out `rows` and its class, and why there are none, else ''.

    Of a bag the image that counts most has one: it is as large as the bag in `tiles.pictures`, and zero elsewhere.
    Of several seeds the first one's network is asked. It runs on the CPU, in full precision.
    """
    if is_external(results.run):
        return [None] * len(rows), "this run was trained elsewhere and brings no network"
    config, heats = results.competition.config, [None] * len(rows)
    plain = PlainRows(results.images, config.images.size)
    folds = results.held.folds[rows]
    try:
        for fold in np.unique(folds):
            places = np.flatnonzero(folds == fold)
            member = next(member for member in results.judges if member.fold == fold)
            network, _ = trained_network(config, member.folder, len(results.classes), results.competition.target)
            images, _ = plain[results.rows[rows[places]]]
            for place, heat in zip(places, _maps(config, network, torch.clone(images), labels[places]), strict=True):
                heats[place] = heat
    except Problem as problem:
        return [None] * len(rows), str(problem)
    return heats, ""


def _maps(config: Config, network: Network, images: torch.Tensor, labels: np.ndarray) -> list[np.ndarray]:
    if not config.images.bag_size:
        return list(grad_cam(network, images, labels))
    heats, slots = bag_grad_cam(network, images, labels)
    whole = np.zeros((len(heats), config.images.bag_size, *heats.shape[1:]), heats.dtype)
    whole[np.arange(len(heats)), slots] = heats
    return [montage(one, images_across(config)) for one in whole]
