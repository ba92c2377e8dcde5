"""The losses, by name: (n, classes) logits and (n,) class indices -> one number, the mean over the rows."""

import torch
import torch.nn.functional as F

from src.config import Loss


def loss_of(loss: Loss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float(), targets, label_smoothing=loss.smoothing)
