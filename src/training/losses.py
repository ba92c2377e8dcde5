"""The losses, by name: (n, classes) logits and targets -> one number, the mean over the rows.

Targets are (n,) class indices; (n, classes) shares where images were mixed; or (n, classes) 0/1 where several
classes may apply to one image (`multilabel`).
"""

import numpy as np
import torch
import torch.nn.functional as F

from src.config.schema import Loss
from src.core.errors import UsageError
from src.models.heads import COSINE_SCALE


class Criterion:
    """The training loss of a configuration, for classes of `counts` training rows."""

    def __init__(self, loss: Loss, counts: np.ndarray, target: str) -> None:
        """Raises UsageError where the loss is not made for this kind of target."""
        self.loss, self.target = loss, target
        if target == "multilabel" and loss.name not in ("auto", "focal"):
            raise UsageError(
                f"loss.name={loss.name} is for one class an image: several may apply here; take auto or focal"
            )
        if loss.name in ("ordinal", "smooth_l1") and target != "ordinal":
            raise UsageError(f"loss.name={loss.name} is for grades, and the card says target: {target}")
        shown = np.maximum(counts, 1).astype(np.float64)
        self.log_prior = torch.log(torch.tensor(shown / shown.sum(), dtype=torch.float32))
        self.weights = class_weights(loss.class_weights, shown, loss.beta)
        self._copies: dict[torch.device, tuple[torch.Tensor, torch.Tensor | None]] = {}

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        log_prior, weights = self._on(logits.device)
        if self.target == "multilabel":
            return _several(self.loss, logits, targets, weights)
        if self.loss.name == "focal":
            return _focal(logits, targets, self.loss.gamma, weights)
        if self.loss.name == "ordinal":
            return _ordinal(logits, targets, weights)
        if self.loss.name == "smooth_l1":
            return _smooth_l1(logits, targets, weights)
        if self.loss.name == "balanced_softmax":  # Ren et al., 2020
            logits = logits + log_prior
        if self.loss.name == "arcface":
            logits = _with_margin(logits, targets, self.loss.margin)
        return F.cross_entropy(logits, targets, weights, label_smoothing=self.loss.smoothing)

    def _on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(log_prior, weights), copied to each device once: it would wait for every copy."""
        if device not in self._copies:
            weights = None if self.weights is None else self.weights.to(device)
            self._copies[device] = self.log_prior.to(device), weights
        return self._copies[device]

    def mass(self, targets: torch.Tensor) -> float:
        """By what the mean over these rows is divided: their number, or the sum of their classes' weights.

        So the mean over a batch is that of its pieces' means, each by its mass.
        """
        by_rows = self.target == "multilabel" or self.loss.name in ("focal", "ordinal", "smooth_l1")
        if self.weights is None or by_rows or targets.ndim == 2:
            return len(targets)
        return self.weights.to(targets.device)[targets].sum().item()


def class_weights(kind: str, counts: np.ndarray, beta: float) -> torch.Tensor | None:
    """(classes,) weights of mean one over the rows: by the inverse count, or the inverse effective number of rows.

    A class's effective number grows with its rows to at most 1 / (1 - beta) (Cui et al., 2019).
    """
    if kind == "none":
        return None
    weights = 1 / counts if kind == "balanced" else (1 - beta) / (1 - beta**counts)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def _several(loss: Loss, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    smooth = targets * (1 - loss.smoothing) + loss.smoothing / 2
    losses = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    if loss.name == "focal":  # Lin et al., 2017
        right = torch.where(targets > 0.5, logits, -logits).sigmoid()
        losses = losses * (1 - right) ** loss.gamma
    if weights is not None:
        losses = losses * torch.where(targets > 0.5, weights, 1.0)
    return losses.mean()


def _focal(logits: torch.Tensor, targets: torch.Tensor, gamma: float, weights: torch.Tensor | None) -> torch.Tensor:
    """Lin et al., 2017: what is already right weighs less."""
    log_p = logits.log_softmax(1)
    losses = -((1 - log_p.exp()) ** gamma) * log_p * _shares(logits, targets)
    return (losses if weights is None else losses * weights).sum(1).mean()


def _ordinal(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Cross entropy of each "above grade k": a miss by two grades costs more than a miss by one."""
    above, truth = (_above(shares) for shares in (logits.softmax(1), _shares(logits, targets)))
    losses = F.binary_cross_entropy(above.clamp(1e-6, 1 - 1e-6), truth.clamp(0, 1), reduction="none").sum(1)
    return _weighted(losses, targets, weights)


def _smooth_l1(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Of the expected grade."""
    grades = torch.arange(logits.shape[1], device=logits.device, dtype=logits.dtype)
    truth = (_shares(logits, targets) * grades).sum(1)
    losses = F.smooth_l1_loss((logits.softmax(1) * grades).sum(1), truth, reduction="none")
    return _weighted(losses, targets, weights)


def _with_margin(logits: torch.Tensor, targets: torch.Tensor, margin: float) -> torch.Tensor:
    """Deng et al., 2019: the angle to the true class counts as larger than it is."""
    cosine = (logits / COSINE_SCALE).clamp(-1 + 1e-6, 1 - 1e-6)
    return COSINE_SCALE * torch.cos(cosine.acos() + margin * _shares(logits, targets))


def _above(shares: torch.Tensor) -> torch.Tensor:
    """(n, classes) -> (n, classes - 1): the share of all grades above each."""
    return shares.flip(1).cumsum(1).flip(1)[:, 1:]


def _shares(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return targets.to(logits.dtype) if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).to(logits.dtype)


def _weighted(losses: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    if weights is None:
        return losses.mean()
    return (losses * (targets @ weights if targets.ndim == 2 else weights[targets])).mean()
