"""An exported file answers as many images as there are in the time that is left, with fewer views where it must."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from src.core.console import log, note, silenced
from src.export.predict import Answers, Exported
from src.inference.predictor import WARM_UP

TIMED = 200  # images that are timed before all are answered
SPARE = 0.85  # of the time that is left: no two images take alike, and the table is yet to be written
ROUND = 2000  # images between two looks at the clock

Clock = Callable[[], float]


def answers_in_time(
    exported: Exported,
    paths: list[Path | tuple[str, ...]],
    seconds: float,
    clock: Clock = time.monotonic,
    timed: int = TIMED,
    every: int = ROUND,
) -> Iterator[Answers]:
    """The answers in the order of `paths`, each an image or the images of a bag, within `seconds`: the first are timed
    here, and the last views left out, then the last models, until the rest fits. Images that cannot be read are
    answered by the classes' shares.
    timed: how many images are timed first. every: images between two looks at the clock.
    """
    end = clock() + seconds
    if len(paths) > timed:
        exported = _affordable(exported, paths, timed, end, clock)
    for start in range(0, len(paths), every):
        begun = clock()
        yield from exported.batches(paths[start : start + every], bad="shares")
        done = min(start + every, len(paths))
        needed = (clock() - begun) / (done - start) * (len(paths) - done)
        left = end - clock()
        if needed > left and passes(exported) > 1:
            exported = shortened(exported, int(passes(exported) * SPARE * left / needed))


def passes(exported: Exported) -> int:
    """How often a network looks at each image."""
    return len(exported.networks) * len(exported.facts.views)


def affordable_passes(all_seconds: float, one_seconds: float, most: int, seconds: float) -> int:
    """The looks at each image that `seconds` allow, of at most `most`, where all of them take `all_seconds` and a
    single one `one_seconds`: reading the images costs the same however often they are looked at."""
    if all_seconds <= seconds:
        return most
    further = max((all_seconds - one_seconds) / max(1, most - 1), 1e-12)
    return max(1, min(most - 1, 1 + int((seconds - one_seconds) / further))) if most > 1 else 1


def shortened(exported: Exported, looks: int) -> Exported:
    """The same file with its last views left out, then its last models, so that each image is looked at `looks` times
    at most, and once at least."""
    facts, models = exported.facts, len(exported.networks)
    views = max(1, min(len(facts.views), looks // models))
    models = max(1, min(models, looks // views))
    fewer = facts.model_copy(update={"views": facts.views[:views], "models": facts.models[:models]})
    if fewer != facts:
        note(
            "views-left-out",
            f"to keep the time limit each image is seen in views {', '.join(fewer.views)} of "
            f"{', '.join(facts.views)} by {models} of {len(facts.models)} models",
        )
    return Exported(fewer, exported.networks[:models], exported.engine)


def _affordable(
    exported: Exported, paths: list[Path | tuple[str, ...]], timed: int, end: float, clock: Clock
) -> Exported:
    def seconds(one: Exported, few: list[Path]) -> float:
        """What all images would take, told by a few."""
        begun = clock()
        for _ in one.batches(few, bad="shares"):
            pass
        return (clock() - begun) / len(few) * len(paths)

    seconds(exported, paths[:WARM_UP])
    whole = seconds(exported, paths[:timed])
    left = SPARE * (end - clock())
    log.info(f"{timed} images timed: all {len(paths)} take {whole / 60:.1f} min, and {left / 60:.1f} min may be spent")
    if whole <= left:
        return exported
    with silenced():
        fewest = shortened(exported, 1)
    one = seconds(fewest, paths[:timed])
    left = SPARE * (end - clock())
    if one > left:
        note("too-slow", f"warning: even one view by one model takes {one / 60:.1f} min: the answer may come too late")
    return shortened(exported, affordable_passes(whole, one, passes(exported), left))
