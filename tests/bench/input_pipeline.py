"""Row: images a second that one core makes ready for training at 128 pixels, from photos of 224.

Podium reads its cache, made once and timed apart, and augments; the peer opens each JPEG with PIL and augments with
torchvision. Both crop at random, mirror, and end in batches of 64 images of bytes.
"""

import zipfile
from pathlib import Path

from src.competition.card import load_card
from src.competition.sources.data_folder import find_archive
from tests.bench.photos import workplace
from tests.bench.process import own, peer
from tests.bench.row import PODIUM, Figures, Line, Row, Trial

PEER = "PIL and torchvision"
OWN = Path(__file__).parent / "own"


def with_podium(trial: Trial) -> Figures:
    return _rate(own(OWN / "cached_pipeline.py", photos(), trial.folder, _seconds(trial)))


def with_pil(trial: Trial) -> Figures:
    return _rate(peer("pil_pipeline.py", photos(), _seconds(trial)))


def photos() -> Path:
    """The training photos of butterflies-mini, unpacked once. Raises Problem where the archive is not at hand."""
    folder = workplace() / "mini"
    if not folder.is_dir():
        archive = find_archive(load_card("butterflies-mini"))
        part = folder.with_name(".mini.part")
        part.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                if name.endswith(".jpg"):
                    (part / name.replace("/", "-")).write_bytes(zipped.read(name))
        part.rename(folder)
    return folder


def _seconds(trial: Trial) -> float:
    return 0.5 if trial.tiny else 8.0


def _rate(figures: Figures) -> Figures:
    return {name: figures[name] for name in ("images/s", "cache seconds") if name in figures}


ROW = Row(
    "input-pipeline",
    {PODIUM: with_podium, PEER: with_pil},
    (Line("input at 128 px on one core, from photos of 224 px", "images/s", PEER, 12, beside="cache seconds"),),
    "The cache of all these photos is built once, by one core, in the seconds told; the rate is that of every epoch "
    "after. Both sides end in batches of bytes: normalisation is the network's own in Podium, and left out here.",
)
