"""Row: a bag of eight images costs no more than eight images and a tenth, in a training step and in prediction.

Both sides are Podium: resnet18 at 64 pixels sees 64 images at a time, as eight bags joined by attention, or alone.
"""

from pathlib import Path

from tests.bench.photos import workplace
from tests.bench.process import own
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

ALONE = "the same images alone"
OWN = Path(__file__).parent / "own" / "bag_steps.py"
STEPS, ANSWERS = "steps, images/s", "answers, images/s"


def measured(kind: str, trial: Trial) -> Figures:
    figures = own(OWN, kind, workplace() / "bags", 0.2 if trial.tiny else 20.0)
    return {name: figures[name] for name in (STEPS, ANSWERS)}


ROW = Row(
    "bags",
    {PODIUM: lambda trial: measured("bags", trial), ALONE: lambda trial: measured("images", trial)},
    (
        Line("training steps of bags of eight", STEPS, ALONE, 1 / 1.1),
        Line("answers of bags of eight", ANSWERS, ALONE, 1 / 1.1),
    ),
    "Images a second on either side, reading from the cache and augmentation among them.",
)
