"""Features that another program made, for a probe without a network: `probe.features` names a file or a folder.

A folder is of the form that `python -m src.predict --features` writes: train-identity.npz and test-identity.npz, and
both of each further view. A file holds every training and test image in the plain view. Arrays: `id` (n,) text and
`features` (n, width) floating point numbers; further ids are passed over.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from src.competition.competition import Competition
from src.core.console import log
from src.core.errors import Problem, UsageError
from src.core.files import read_json, sha256_of
from src.core.paths import DONE, Run, home
from src.inference.network_features import TEST, TRAIN, read_features
from src.inference.tta import PLAIN, VIEWS

WRITE_ANEW = "write it anew, as the head of src/inference/brought_features.py tells"


def brought_features(competition: Competition) -> "BroughtFeatures | None":
    """Those that `probe.features` names; None where a network of ours makes them."""
    path = competition.config.probe.features
    return None if path is None else BroughtFeatures(competition, path)


@dataclass(frozen=True)
class BroughtFeatures:
    """path: the file or folder, from the folder that holds configs/."""

    competition: Competition
    path: str

    @cached_property
    def source(self) -> Path:
        source = home() / self.path
        if not source.exists():
            raise Problem(f"probe.features={self.path}: {source} is not there", code="no-features")
        return source

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Those that are brought, the plain one first. Raises Problem where that is missing."""
        if self.source.is_file():
            return PLAIN
        parts = self._present()
        found = [view for view in VIEWS if all(self._file(part, view).is_file() for part in parts)]
        missing = [part for part in parts if not self._file(part, PLAIN[0]).is_file()]
        if missing:
            raise Problem(f"{self.source} holds no {missing[0]}-{PLAIN[0]}.npz: {WRITE_ANEW}", code="no-features")
        return tuple(dict.fromkeys((*PLAIN, *found)))

    @cached_property
    def digest(self) -> str:
        """Of the files: folds of one run must stand on the same features."""
        files = [self.source] if self.source.is_file() else [self._file(part, view) for part, view in self._parts()]
        return " ".join(sha256_of(file)[:16] for file in files)

    def among(self, views: tuple[str, ...]) -> tuple[str, ...]:
        """Those of these views that are brought. Raises UsageError where none is."""
        found = tuple(view for view in views if view in self.views)
        if not found:
            raise UsageError(
                f"probe.views={list(views)}: {self.source} holds {', '.join(self.views)} alone", code="no-such-view"
            )
        return found

    def check(self, run: Run) -> None:
        """Raises Problem where folds of the run stand on other features than these, or these are wrong."""
        for file in run.folder.glob(f"seed*/*/{DONE}"):
            if read_json(file).get("probe", {}).get("features") != self.digest:
                raise Problem(
                    f"probe.features={self.path} holds other features than those that {file.parent} was fitted on: "
                    f"put them back, or give run=NEWNAME",
                    code="features-changed",
                )
        widths = {view: self.read(view).shape[1] for view in self.views}
        if len(set(widths.values())) > 1:
            told = ", ".join(f"{view} {width}" for view, width in widths.items())
            raise Problem(f"{self.source}: the views have features of different widths ({told})", code="bad-features")
        log.info(f"features of {self.source}: {self.width} numbers an image, in the views {', '.join(self.views)}")

    @cached_property
    def width(self) -> int:
        return self.read(PLAIN[0]).shape[1]

    def ensure(self, views: tuple[str, ...]) -> None:
        """They are there, or nowhere."""

    def read(self, view: str) -> np.ndarray:
        """(rows, width) float32 of the training rows, then the test rows."""
        if self.source.is_file():
            both = np.concatenate([self._ids[TRAIN], self._ids[TEST]])
            if len(np.unique(both)) < len(both):
                raise Problem(
                    f"{self.source}: training and test images of this competition share ids, and one file cannot tell "
                    f"them apart: bring a folder with train-identity.npz and test-identity.npz",
                    code="bad-features",
                )
            return read_features(self.source, both, WRITE_ANEW)
        parts = [read_features(self._file(part, view), self._ids[part], WRITE_ANEW) for part in self._present()]
        if len({part.shape[1] for part in parts}) > 1:
            widths = " and ".join(str(part.shape[1]) for part in parts)
            raise Problem(
                f"{self.source}: training and test features of {view} are {widths} numbers wide", code="bad-features"
            )
        return np.concatenate(parts)

    @cached_property
    def _ids(self) -> dict[str, np.ndarray]:
        samples = self.competition.samples
        tables = {TRAIN: samples.train, TEST: samples.test}
        return {part: table["id"].to_numpy().astype(np.str_) for part, table in tables.items()}

    def _present(self) -> list[str]:
        return [part for part in (TRAIN, TEST) if len(self._ids[part])]

    def _parts(self) -> list[tuple[str, str]]:
        return [(part, view) for view in self.views for part in self._present()]

    def _file(self, part: str, view: str) -> Path:
        return self.source / f"{part}-{view}.npz"
