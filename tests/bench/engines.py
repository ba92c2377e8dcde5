"""Eight views of image files: every engine against eight passes of a plain DataLoader in fp32.

usage: python -m tests.bench.engines run=NAME [competition=ID] [predict.size=128] [images=512] [seconds=60]

The DataLoader decodes, resizes and turns every image once a view, for torch in fp32. The engines decode each once, into
a new cache, and answer all views from it. They take turns until the seconds are over; the best round of each is told,
by the clock and by the processor's time, which other work on the machine disturbs less.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from src.competition.competition import open_competition
from src.config.request import parse
from src.core.paths import Run
from src.evaluation.averaging import mean_predictions
from src.images.cache import ImageCache
from src.images.dataset import Feed, PlainRows
from src.images.stream import ImageStream, resized
from src.inference.backend_choice import candidates
from src.inference.backend_networks import EngineNetworks
from src.inference.backends.backend import Engine
from src.inference.members import trained_members
from src.inference.trained_networks import trained_network
from src.inference.tta import SETS, VIEWS

SQUARE = SETS["square"]


class OneView(Dataset):
    """Files as a textbook reads them."""

    def __init__(self, stream: ImageStream, size: int, view: str) -> None:
        self.stream, self.size, self.view = stream, size, VIEWS.get(view)

    def __len__(self) -> int:
        return len(self.stream)

    def __getitem__(self, row: int) -> torch.Tensor:
        image = torch.from_numpy(resized(self.stream[row], self.size)).permute(2, 0, 1)
        return self.view(image[None])[0].contiguous()


def main(words: list[str]) -> None:
    own = dict(word.split("=") for word in words if word.startswith(("images=", "seconds=")))
    request = parse([word for word in words if word.partition("=")[0] not in own])
    run = Run(request.competition, request.run)
    competition = open_competition(request.config, run)
    networks, member = EngineNetworks(competition, run), trained_members(run, request)[0]
    rows = networks.rows(member, "oof")[: int(own.get("images", 512))]
    paths = [Path(competition.samples.train["path"].iloc[row]) for row in rows]
    size, batch, target = networks.size, request.config.predict.batch, competition.target
    stream = ImageStream(paths, request.config.images.load_side(size), request.config.images.fit, ())
    network = trained_network(competition.config, member.folder, len(competition.samples.classes), competition.target)[
        0
    ].eval()

    @torch.inference_mode()
    def textbook() -> np.ndarray:
        loaders = [DataLoader(OneView(stream, size, view), batch_size=batch) for view in SQUARE]
        tables = [torch.cat([network(images) for images in loader]).numpy() for loader in loaders]
        return mean_predictions(tables, target)

    def podium(engine: Engine) -> Callable[[], np.ndarray]:
        ready = networks.ready(member, engine)
        every = np.arange(len(paths))

        def answer() -> np.ndarray:
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder) / "cache"
                cache.mkdir()
                images = ImageCache.open(cache, paths, stream.size.word, stream.fit)
                networks._feed = Feed(PlainRows(images, size), 0, torch.device("cpu"))
                return mean_predictions(list(networks.logits(ready, engine, every, SQUARE).values()), target)

        return answer

    ways = {"DataLoader, torch fp32": textbook}
    ways |= {str(one): podium(one) for one in candidates(networks)[0]}
    text = f"{len(paths)} images, {len(SQUARE)} views, {size} px, {torch.get_num_threads()} threads, load"
    print(text, *os.getloadavg())
    clock, processor, answers = ({name: np.inf for name in ways} for _ in range(3))
    end = time.monotonic() + float(own.get("seconds", 60))
    while time.monotonic() < end:
        for name, way in ways.items():
            start = time.perf_counter(), time.process_time()
            answers[name] = way()
            clock[name] = min(clock[name], time.perf_counter() - start[0])
            processor[name] = min(processor[name], time.process_time() - start[1])
    first = next(iter(ways))
    for name in ways:
        away = np.abs(answers[name] - answers[first])
        changed = (answers[name].argmax(1) != answers[first].argmax(1)).mean()
        print(
            f"{name:24s} {len(paths) / clock[name]:8.1f} answers/s {clock[first] / clock[name]:6.2f} times, "
            f"{processor[first] / processor[name]:6.2f} in processor time; a probability moves by at most "
            f"{away.max():.3f}, {100 * changed:.2g} % change"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
