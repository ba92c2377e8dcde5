"""The last layer of 13,000 images of 1,280 features is fitted in little memory."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from src.targets import target_type
from src.training.fitted_head import fit_head

ROWS, WIDTH, CLASSES, FOLDS = 13_000, 1280, 100, 5
TABLE = ROWS * WIDTH * 4  # bytes of the features
STATUS, REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(kind: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most since the peak was forgotten."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not REFS.exists(), reason="no /proc/self/clear_refs to forget the peak of memory with")
@pytest.mark.slow
@pytest.mark.parametrize("head", ["prototypes", "logistic"])
def test_many_features_are_fitted_in_little_memory(head):
    generator = np.random.default_rng(0)
    truth, fold = generator.integers(0, CLASSES, ROWS), generator.integers(0, FOLDS, ROWS)
    features = torch.from_numpy(generator.standard_normal((ROWS, WIDTH), np.float32))
    features[torch.arange(ROWS), torch.from_numpy(truth)] += 9.0
    target = target_type("multiclass")
    competition = SimpleNamespace(
        samples=SimpleNamespace(targets=truth, weights=None, classes=tuple(map(str, range(CLASSES)))),
        target=target,
        config=SimpleNamespace(probe=SimpleNamespace(head=head)),
        folds=SimpleNamespace(of_row=fold, rows=lambda of: (np.flatnonzero(fold != of), np.flatnonzero(fold == of))),
    )
    rows, others = competition.folds.rows(0)
    seen, unseen = features[rows], features[others]
    REFS.write_text("5")
    before = held("VmRSS")
    fitted = fit_head(competition, 0, seen, threads=2)
    assert held("VmHWM") - before < 4 * TABLE
    assert (fitted.head.logits(unseen).argmax(1).numpy() == truth[others]).mean() > 0.99
