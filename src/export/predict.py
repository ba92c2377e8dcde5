"""Predict image files with one exported file: no run, card, tables or training code is needed.

  FILE         written by python -m src.predict --export
  IMAGES       image files, or folders that are searched for them. Where an answer has several images (a bag), each
               folder that holds images is one bag, and a file is a bag of one

From Python: `Exported.open(FILE).predict(paths)`, or `.batches(paths)` for more images than fit into memory. A path is
an image, or of bags the folder of one, or the paths of its images.
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import torch

from src.core.cli import JSON, Command, CommandLine, Result
from src.core.console import Bar
from src.core.errors import Problem, UsageError
from src.core.files import written_whole
from src.core.process import run
from src.evaluation.averaging import mean_predictions
from src.export.export_file import Facts, Pixels, read_export
from src.export.networks import engine_for, network_of
from src.images import decode as decoder
from src.images.bags import BagImages, natural_order
from src.images.bands import banded, bands_among
from src.images.file_batches import FileBatch, file_batches
from src.images.frames import frame_names
from src.images.pixel_format import PixelFormat
from src.images.read import looks_like_image
from src.images.regions import tile_names
from src.images.slices import by_position, series_of
from src.images.stream import ImageStream
from src.inference.backends.backend import Engine
from src.inference.predictor import view_logits
from src.metrics.decision import Decision
from src.models.factory import Network
from src.targets import target_type

Logits = dict[tuple[int, str], np.ndarray]  # of the model's place and the view: (n, classes) float32


@dataclass(frozen=True)
class Answers:
    """probabilities: (n, classes) float64. decisions: (n,) int, or (n, classes) bool where several classes may apply.

    paths: of a bag that was given as paths, the first. faults: the images that could not be read, and were answered by
    the classes' shares. left_out: those that could not be read of bags that hold others, and why.
    """

    paths: list[Path]
    probabilities: np.ndarray
    decisions: np.ndarray
    faults: dict[Path, str]
    left_out: dict[Path, str] = field(default_factory=dict)


class Exported:
    """The models of one exported file, ready to predict."""

    def __init__(self, facts: Facts, networks: list[Network], engine: Engine) -> None:
        self.facts, self.networks, self.engine = facts, networks, engine
        self.decision = Decision.from_json(facts.decision) if facts.decision else None

    @classmethod
    def open(cls, path: Path | str, device: str | None = None, precision: str | None = None) -> "Exported":
        """Load the file onto `device` (None: the fastest here), and see that this machine builds the same networks.

        precision: None: as the run was predicted, where the device can, else fp32.
        Raises Problem where the file is damaged or this code would answer otherwise, UsageError for a wrong device.
        """
        path = Path(path)
        facts, tensors = read_export(path)
        if facts.images.decoder != decoder.VERSION:
            raise Problem(
                f"{path} was made for version {facts.images.decoder} of the decoder, this code has {decoder.VERSION}: "
                f"images would come out with other pixels. Export the run anew, or take the code of {facts.commit}",
                code="export-of-other-decoder",
            )
        engine = engine_for(facts.precision, device, precision)
        networks = [network_of(path, facts, model, tensors, engine.device) for model in facts.models]
        return cls(facts, networks, engine)

    def batches(
        self,
        paths: Iterable[Path | str | Sequence[Path | str]],
        batch: int | None = None,
        workers: int | None = None,
        bad: Literal["stop", "shares"] = "stop",
    ) -> Iterator[Answers]:
        """The answers in the order of `paths`, a batch at a time: memory holds no more than two batches of images.

        bad="shares" answers an unusable image by the classes' shares, and tells it in `faults`; a bag is answered
        by its other images, if there are any, as the run does.
        Raises ImageFault for the first one otherwise.
        """
        named, pixels = list(paths), self.facts.images
        paths = [Path(one if isinstance(one, str | Path) else one[0]) for one in named]
        bags = [_images_of(one, pixels) for one in named]
        if pixels.tiles:
            bags = [[name for one in bag for name in tile_names(one, pixels.tiles)] for bag in bags]
        if pixels.slices:
            bags = [[bag[k] for k in order] for bag, order in zip(bags, by_position(bags).orders, strict=True)]
        stream = image_stream(pixels, bags)
        for part in file_batches(stream, pixels.size, batch or self.facts.batch, workers, bad == "stop"):
            if part.faults and bad == "stop":
                raise next(iter(part.faults.values()))
            answer = self.answer(self.logits(part.images))
            yield self._format([paths[row] for row in part.rows], *answer, part)

    def predict(self, paths: Iterable[Path | str | Sequence[Path | str]], **how: object) -> Answers:
        """All answers at once; see `batches`."""
        parts = list(self.batches(paths, **how))
        if not parts:
            raise UsageError("no images were named to be predicted", code="no-images")
        return Answers(
            [path for part in parts for path in part.paths],
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.decisions for part in parts]),
            {path: reason for part in parts for path, reason in part.faults.items()},
            {path: reason for part in parts for path, reason in part.left_out.items()},
        )

    def words(self, decisions: np.ndarray) -> list[str]:
        """The decisions as class names, several with | in between."""
        return ["|".join(row) for row in target_type(self.facts.target).cells(decisions, tuple(self.facts.classes))]

    def logits(self, images: torch.Tensor) -> Logits:
        """What each model says in each view of (n, 3, size, size) uint8 images."""
        rows, views = np.arange(len(images)), tuple(self.facts.views)
        images = images.to(self.engine.device, non_blocking=True)
        text: Logits = {}
        for place, network in enumerate(self.networks):
            tables = view_logits(network, lambda _: [(images, rows)], rows, views, len(rows), self.engine.autocast)
            text |= {(place, view): logits for view, logits in tables.items()}
        return text

    def answer(self, logits: Logits) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (n, classes) and decisions, as the run's submission was made of its logits.

        What was fitted on answers of one fold's models is applied to one fold's models, and averaged after that.
        """
        target, folds, views = (
            target_type(self.facts.target),
            [model.fold for model in self.facts.models],
            self.facts.views,
        )
        of_fold = [[at for at, one in enumerate(folds) if one == fold] for fold in dict.fromkeys(folds)]
        each = [mean_predictions([logits[at, view] for at in here for view in views], target) for here in of_fold]
        if self.decision:
            each = [self.decision.changed(probabilities) for probabilities in each]
        probabilities = np.average(each, axis=0, weights=[len(here) for here in of_fold])
        probabilities, decisions = self.decision.decided(probabilities) if self.decision else (probabilities, None)
        if decisions is None:
            decisions = target.decide(probabilities)
        if self.facts.never_empty:
            decisions = target.filled(decisions, probabilities)
        return probabilities, decisions

    def _format(self, paths: list[Path], probabilities: np.ndarray, decisions: np.ndarray, part: FileBatch) -> Answers:
        places = list(part.faults)
        if places:
            shares = np.tile(self.facts.shares, (len(places), 1))
            probabilities[places] = shares
            decisions[places] = target_type(self.facts.target).guess(shares)
        faults = {paths[at]: fault.reason for at, fault in part.faults.items()}
        return Answers(paths, probabilities, decisions, faults, {one.path: one.reason for one in part.left_out})


def image_stream(pixels: Pixels, bags: Sequence[Sequence[str | Path]]) -> ImageStream | BagImages:
    """The images of each answer, as a network sees them. bags: their names, or those of their tiles."""
    paths = [path for bag in bags for path in bag]
    form = PixelFormat.from_json(pixels.format)
    stream = ImageStream(paths, pixels.load_side, pixels.fit, pixels.prepare, form)
    if not pixels.bag_size:
        return stream
    series = series_of(bags) if pixels.slices else None
    return BagImages(stream, np.cumsum([0, *map(len, bags)]), pixels.bag_size, pixels.slices, series)


def _images_of(named: Path | str | Sequence[Path | str], pixels: Pixels) -> list[str]:
    """One, those that are given, or those of a folder in the order of the numbers in their names."""
    if not isinstance(named, str | Path):
        return list(map(str, named))
    path = Path(named)
    if pixels.frames and path.is_file():
        return frame_names(str(path), path)
    if not (pixels.folders and path.is_dir()):
        return [str(path)]
    inside = sorted((str(one) for one in path.iterdir() if looks_like_image(one)), key=natural_order)
    if not inside:
        raise UsageError(f"{path}: there is no image in this folder", code="no-images")
    return [banded(_bands(path, inside, pixels.bands))] if pixels.bands else inside


def _bands(folder: Path, inside: list[str], ends: list[str] | bool) -> list[str]:
    """The files of a folder that are the channels of its picture. Raises Problem where these are others."""
    if isinstance(ends, bool):
        return inside
    try:
        return [str(folder / name) for name in bands_among([Path(one).name for one in inside], ends)]
    except ValueError as error:
        raise Problem(f"{folder}: {error}: put the files there that it was trained on", code="bands-differ") from None


# The command


def found_bags(words: list[str]) -> list[Path]:
    """Files, and folders that hold images themselves: those that are named, and those below. Raises UsageError."""
    named = set(map(Path, words))
    return list(dict.fromkeys(path if path in named else path.parent for path in found_images(words)))


def found_images(words: list[str]) -> list[Path]:
    """The files that are named, and the images in folders and below, by name. Raises UsageError where there is none."""
    paths: list[Path] = []
    for path in map(Path, words):
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder", code="no-such-file")
        inside = sorted(one for one in path.rglob("*") if looks_like_image(one)) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path}: there is no image in this folder", code="no-images")
        paths += inside
    if not paths:
        raise UsageError("name the images to predict: files or folders", code="no-images")
    return paths


def write_answers(exported: Exported, parts: Iterable[Answers], total: int, out: TextIO) -> None:
    """A CSV, row by row as the answers come; what could not be read is told on stderr."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["file", "answer", *exported.facts.classes])
    with Bar(total, "predicting", "image") as bar:
        for part in parts:
            for path, word, row in zip(part.paths, exported.words(part.decisions), part.probabilities, strict=True):
                table.writerow([path, word, *(f"{p:.9g}" for p in row)])
            for path, reason in part.faults.items():
                print(f"{path}: {reason}: answered by the classes' shares", file=sys.stderr)
            for path, reason in part.left_out.items():
                print(f"{path}: {reason}: left out of its bag", file=sys.stderr)
            bar.update(len(part.paths))


COMMAND = Command(
    "src.export.predict",
    __doc__,
    files="FILE IMAGES...",
    only=("out", "device", "precision", "batch", "workers", "bad"),
)
COMMAND.key(
    "out=answers.csv",
    "where the answers go, whole or not at all; without it they are printed: file, answer, and a probability for each "
    "class. Where several classes may apply, the answer holds them with | in between",
)
COMMAND.key("device=cpu", "cpu, cuda or mps; without it the fastest that is here")
COMMAND.key("precision=fp32", "fp32, bf16 or fp16; without it as the run was predicted, where this device can")
COMMAND.key("batch=64", "images at once; without it as the run was predicted")
COMMAND.key("workers=4", "threads that decode; without it one a core")
COMMAND.key(
    "bad=shares",
    "answer an image that cannot be read by the classes' shares of the training rows; of a bag it is left out",
)


def work(line: CommandLine) -> Result:
    options = line.keys
    _check(options)
    if not line.files:
        raise UsageError("name the exported file, then the images; --help tells more", code="usage")
    paths = found_images(list(line.files[1:]))
    exported = Exported.open(line.files[0], options.get("device"), options.get("precision"))
    facts, engine = exported.facts, exported.engine
    if facts.images.folders:
        paths = found_bags(list(line.files[1:]))
    print(
        f"{facts.run} of {facts.competition}: models {len(facts.models)}, views {', '.join(facts.views)}, "
        f"{len(paths)} images on {engine.device} in {engine.precision} (the run: {facts.precision})",
        file=sys.stderr,
    )
    numbers = {key: int(options[key]) for key in ("batch", "workers") if key in options}
    parts = exported.batches(paths, **numbers, bad=options.get("bad", "stop"))
    result: Result = {"competition": facts.competition, "run": facts.run, "images": len(paths)}
    if "out" in options:
        with written_whole(Path(options["out"])) as part, part.open("w", encoding="utf-8") as file:
            write_answers(exported, parts, len(paths), file)
        return result | {"answers": options["out"]}
    if JSON not in line.typed:
        write_answers(exported, parts, len(paths), sys.stdout)
        return result
    with io.StringIO() as table:
        write_answers(exported, parts, len(paths), table)
        rows = list(csv.reader(io.StringIO(table.getvalue())))
    names = rows[0][2:]
    return result | {
        "answers": [
            {"file": row[0], "answer": row[1], "probabilities": dict(zip(names, map(float, row[2:]), strict=True))}
            for row in rows[1:]
        ]
    }


def _check(options: dict[str, str]) -> None:
    for key in ("batch", "workers"):
        if key in options and not (options[key].isdecimal() and int(options[key]) > 0):
            raise UsageError(f"{key}={options[key]}: must be a whole number above 0", code="bad-value")
    if options.get("bad", "stop") not in ("stop", "shares"):
        raise UsageError(f"bad={options['bad']}: must be stop or shares", code="bad-value")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    return COMMAND.main(work, argv)


if __name__ == "__main__":
    run(main)
