"""The losses: (n, classes) logits and targets -> one number, the mean over the rows.

Targets are (n,) class indices, or (n, classes) 0/1 where several classes may apply to one image.
"""

import numpy as np
import torch
import torch.nn.functional as F

from src.schema import Loss


def loss_of(loss: Loss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The training loss, with the configuration's label smoothing."""
    if targets.ndim == 2:
        smooth = targets * (1 - loss.smoothing) + loss.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.float(), smooth)
    return F.cross_entropy(logits.float(), targets, label_smoothing=loss.smoothing)


def plain_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The same without smoothing, to compare one epoch and run with another."""
    plain = Loss(name="cross_entropy", smoothing=0.0)
    return loss_of(plain, torch.from_numpy(logits), torch.from_numpy(targets)).item()


def chance_loss(targets: np.ndarray, weights: np.ndarray | None, smoothing: float, classes: int) -> float:
    """The training loss of always answering the class frequencies; `weights` are the sampler's, one a row."""
    if targets.ndim == 2:
        shares = np.average(targets, axis=0, weights=weights) * (1 - smoothing) + smoothing / 2
        shares = shares.clip(1e-12, 1 - 1e-12)
        return float(-(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean())
    shares = np.bincount(targets, weights=weights, minlength=classes)
    shares = shares / shares.sum() * (1 - smoothing) + smoothing / classes
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
