"""Where in an image did a network find a class? Grad-CAM (Selvaraju and others, 2017) on the last convolution's map."""

import numpy as np
import torch
from torch import nn

from src.core.errors import Problem
from src.models.bag_head import bag_weights
from src.models.factory import Network


def grad_cam(network: Network, images: torch.Tensor, classes: np.ndarray) -> np.ndarray:
    """(n, 3, height, width) uint8 images and the (n,) class to look for in each -> (n, h, w) float32 from 0 to 1.

    h and w are those of the network's last convolutional map. A map of zeros: nothing speaks for the class.
    Raises Problem for a network whose answers do not come from such a map, as those of transformers.
    """
    return _scaled(_heat(network, images, classes))


def bag_grad_cam(network: Network, images: torch.Tensor, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `grad_cam`, of bags, (n, slots * channels, height, width): the map of the image of each that counts most, and
    (n,) its slot. That is the image with the largest weight, or, of a pool that weighs none, with the most heat."""
    weights = bag_weights(network, images)
    heat, there = _heat(network, images, classes), network.bags.there.cpu()
    every = heat.new_zeros(there.numel(), *heat.shape[1:])
    every[there.flatten()] = heat
    every = every.reshape(*there.shape, *heat.shape[1:])
    slots = every.sum((2, 3)).argmax(1).numpy() if weights is None else weights.argmax(1)
    return _scaled(every[np.arange(len(every)), slots]), slots


def _heat(network: Network, images: torch.Tensor, classes: np.ndarray) -> torch.Tensor:
    """(images, h, w) float32 on the CPU; of bags their images that are there, one after the other."""
    network.eval()
    passes = _Passes(network.backbone)
    with torch.enable_grad():
        logits = network(images)
        features = passes.last_map()
        wanted = logits[torch.arange(len(images)), torch.as_tensor(classes, device=logits.device)].sum()
        gradient = torch.autograd.grad(wanted, features)[0]
    return torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1)).detach().float().cpu()


def _scaled(heat: torch.Tensor) -> np.ndarray:
    return (heat / heat.amax((1, 2), keepdim=True).clamp(min=1e-12)).numpy()


class _Passes:
    """What every part of a network made in one pass, in order. Parts are listened to until `last_map` is asked for."""

    def __init__(self, backbone: nn.Module) -> None:
        self.made: list[tuple[nn.Module, torch.Tensor, int]] = []  # the part, its output, the dimensions of its input
        self.hooks = [module.register_forward_hook(self._note) for module in backbone.modules()]

    def last_map(self) -> torch.Tensor:
        """(n, channels, h, w): the last output of the shape that the last convolution with more than one pixel has."""
        for hook in self.hooks:
            hook.remove()
        maps = [at for at, (part, out, _) in enumerate(self.made) if isinstance(part, nn.Conv2d) and _is_picture(out)]
        if not maps:
            raise Problem("this network has no convolution whose map is larger than one pixel", code="unfit-network")
        shape = self.made[maps[-1]][1].shape
        last = max(at for at, (_, out, _) in enumerate(self.made) if out.shape == shape)
        # A later layer that takes more than one vector an image works on pieces of the picture, in an order of its own.
        if any(isinstance(part, nn.Linear) and dimensions > 2 for part, _, dimensions in self.made[last + 1 :]):
            raise Problem(
                "this network goes on after its last convolution with pieces of the picture, as transformers do",
                code="unfit-network",
            )
        return self.made[last][1]

    def _note(self, part: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, torch.Tensor) and inputs and isinstance(inputs[0], torch.Tensor):
            self.made.append((part, output, inputs[0].ndim))


def _is_picture(output: torch.Tensor) -> bool:
    return output.ndim == 4 and output.shape[2] * output.shape[3] > 1
