"""Regularised logistic regression, by L-BFGS over all rows at once.

It takes place in coordinates in which the features are of like size, and so few steps are enough. The penalty is that
of the features' own.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from src.training.probes import PROBES
from src.training.probes.probe import LinearHead, Probe

STEPS = 60


@PROBES.register("logistic")
class Logistic(Probe):
    """One class of several, or their shares: softmax."""

    strengths = (0.25, 0.064, 0.016, 0.004, 0.001, 0.00025)

    def directions(self, outputs: int) -> int:
        """How many directions in the features are learned."""
        return outputs

    def spread(self, values: torch.Tensor, outputs: int) -> torch.Tensor:
        """(..., directions) -> (..., outputs): how the directions make the outputs."""
        return values

    def gathered(self, weight: torch.Tensor) -> torch.Tensor:
        """(outputs, width) -> (directions, width), what `spread` made the weights of."""
        return weight

    def curvature(self, outputs: int) -> float:
        """Of the loss in a logit, where all classes are as likely."""
        return (outputs - 1) / outputs**2

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, truth)

    def row_losses(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(n,) whose mean is `loss`."""
        return F.cross_entropy(logits, truth, reduction="none")

    def path(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        strengths: tuple[float, ...],
        weights: torch.Tensor | None = None,
    ) -> Iterator[LinearHead]:
        weight, bias = torch.zeros(self.directions(outputs), features.shape[1]), torch.zeros(outputs)
        yield from self._path(features, truth, strengths, weight, bias, weights)

    def refit(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        outputs: int,
        near: LinearHead,
        weights: torch.Tensor | None = None,
    ) -> LinearHead:
        (fitted,) = self._path(features, truth, (near.strength,), self.gathered(near.weight), near.bias, weights)
        return fitted

    def _path(
        self,
        features: torch.Tensor,
        truth: torch.Tensor,
        strengths: tuple[float, ...],
        weight: torch.Tensor,
        bias: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> Iterator[LinearHead]:
        """Each fit begins where the one before it ended, the first at these numbers."""
        outputs, variances = len(bias), features.square().mean(0)
        for strength in strengths:
            scale = (self.curvature(outputs) * variances + strength).rsqrt()
            penalty = strength * scale.square()
            found, bias = self._fitted(features * scale, truth, penalty, weight / scale, bias, weights)
            weight = found * scale
            yield LinearHead(self.spread(weight.T, outputs).T.contiguous(), bias, strength)

    def _fitted(
        self,
        seen: torch.Tensor,
        truth: torch.Tensor,
        penalty: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=STEPS, tolerance_grad=1e-5, tolerance_change=1e-5, line_search_fn="strong_wolfe"
        )

        def objective() -> torch.Tensor:
            optimizer.zero_grad()
            logits = self.spread(F.linear(seen, weight), len(bias)) + bias
            loss = self.loss(logits, truth) if weights is None else (self.row_losses(logits, truth) * weights).mean()
            value = loss + 0.5 * (penalty * weight.square()).sum()
            value.backward()
            return value

        optimizer.step(objective)
        return weight.detach(), bias.detach()


@PROBES.register("one_against_rest")
class OneAgainstRest(Logistic):
    """Several classes may apply: a yes or no of each."""

    def curvature(self, outputs: int) -> float:
        return 0.25

    def loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return self.row_losses(logits, truth).mean()

    def row_losses(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none").sum(1)


@PROBES.register("grades")
class Grades(Logistic):
    """Grades: one direction in the features, and a cut-point between each two neighbours.

    The odds of a grade against the one below it are those of the direction, less the cut-point: the adjacent
    categories model, whose logits are linear in the features.
    """

    def directions(self, outputs: int) -> int:
        return 1

    def curvature(self, outputs: int) -> float:
        return 0.25

    def spread(self, values: torch.Tensor, outputs: int) -> torch.Tensor:
        return values * torch.linspace(-1, 1, outputs)

    def gathered(self, weight: torch.Tensor) -> torch.Tensor:
        return weight[-1:]
