"""Can the score be trusted: how sure is the network and how right, do the folds agree, is the test set alike?"""

import numpy as np
import pandas as pd

from src.errors import Problem
from src.findings.classes import wilson
from src.findings.subject import Subject
from src.findings.tiles import pictures
from src.inference.intervals import bootstrap_interval, fold_spread
from src.inference.scores import probabilities
from src.inference.tables import PLAIN
from src.reporting.page.blocks import Block, Chart, Gallery, Section, Text, Tile
from src.reporting.page.charts import histograms, reliability
from src.runs import read_json

TITLE = "Can it be trusted?"
BINS, FEWEST = 15, 20  # bins of equally many answers, each of that many at least
CALIBRATED = 0.02  # a gap between sureness and truth below which it is not worth a word
UNLIKE = 8


def trust(subject: Subject) -> Section:
    if subject.held is None:
        return Section("trust", TITLE, "No image was held out, so nothing can be checked.", ())
    bins = calibration(subject)
    alt = "share of right answers by how sure the network was of them, in bins of equally many answers"
    blocks: list[Block] = [Chart("calibration", "Calibration", alt, reliability(bins), bins)]
    drift, drifted = _sureness(subject)
    shift, told = _adversarial(subject)
    blocks += [*drift, *shift]
    reading = " ".join(filter(None, (_calibrated(bins), _spread(subject), drifted, told)))
    return Section("trust", TITLE, reading, tuple(blocks))


def calibration(subject: Subject) -> pd.DataFrame:
    """answers, confidence, right, low, high of each bin. An answer: an image's likeliest class; where several classes
    may apply, each class of an image."""
    held, p = subject.held, subject.plain
    if held.several:
        sure, right = p.ravel(), held.targets.ravel() > 0.5
    else:
        sure, right = p.max(axis=1), subject.answers == held.targets
    order = np.argsort(sure, kind="stable")
    parts = np.array_split(order, int(np.clip(len(order) // FEWEST, 1, BINS)))
    count = np.array([len(part) for part in parts])
    hits = np.array([right[part].sum() for part in parts])
    low, high = wilson(hits, count)
    confidence = [sure[part].mean() for part in parts]
    return pd.DataFrame({"answers": count, "confidence": confidence, "right": hits / count, "low": low, "high": high})


def _calibrated(bins: pd.DataFrame) -> str:
    weights = bins["answers"] / bins["answers"].sum()
    sure, right = (weights * bins["confidence"]).sum(), (weights * bins["right"]).sum()
    error = (weights * (bins["confidence"] - bins["right"]).abs()).sum()
    told = f"The network is {sure:.1%} sure on average and right in {right:.1%} (calibration error {error:.3f}): "
    if abs(sure - right) < CALIBRATED:
        return told + "on the whole its probabilities can be taken at their word."
    return told + f"it is too {'sure' if sure > right else 'modest'} by {abs(sure - right):.1%}."


def _spread(subject: Subject) -> str:
    """The folds' scores against the luck of which images each holds."""
    held, metric = subject.held, subject.opened.metric
    spread = fold_spread(metric, held.targets, subject.plain, held.folds)
    if len(spread.scores) < 2:
        return "One fold alone: what another would have scored is not known."
    widths = []
    for fold in np.unique(held.folds):
        rows = held.folds == fold
        low, high = bootstrap_interval(metric, held.targets[rows], subject.plain[rows], held.groups[rows])
        widths.append((high - low) / (2 * 1.96))
    luck = float(np.sqrt(np.mean(np.square(widths))))
    said = (
        f"The folds score {spread.mean:.4f} ± {spread.deviation:.4f}; the luck of their images alone makes ± {luck:.4f}"
    )
    # The standard deviation of k normal values is itself off by a factor of about 1 / sqrt(2 (k - 1)).
    usual = luck * (1 + 2 / np.sqrt(2 * (len(spread.scores) - 1)))
    if spread.deviation > usual:
        return said + ", so that they differ by more than luck: look at what the weakest fold holds."
    return said + ", so that they agree."


def _sureness(subject: Subject) -> tuple[list[Block], str]:
    """How sure the network is of test images against held-out ones; nothing where test logits are not stored."""
    opened, members = subject.opened, list(subject.members)
    files = [subject.tables.file(member, "test", "identity") for member in members]
    if subject.held.several or not len(opened.samples.test) or not all(file.exists() for file in files):
        return [], ""
    # One fold's network at a time: a mean over folds is less sure than each of them.
    ids = opened.samples.test["id"].to_numpy()
    folds = np.unique(subject.held.folds)
    tested = [
        probabilities(opened, subject.tables, [m for m in members if m.fold == fold], PLAIN, "test", ids).max(axis=1)
        for fold in folds
    ]
    sets = {"held-out images": subject.plain.max(axis=1), "test images": np.concatenate(tested)}
    edges = np.linspace(0, 1, 21)
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    for name, values in sets.items():
        table[name] = np.histogram(values.clip(0, 1), edges)[0] / len(values)
    held_out, test = (float(values.mean()) for values in sets.values())
    alt = f"how sure the networks are: {held_out:.3f} on average of held-out images, {test:.3f} of test images"
    draw = histograms(table, "how sure the network is of its answer", "share of the images")
    chart = Chart("sureness", f"Sureness: held out {held_out:.3f}, test {test:.3f} on average", alt, draw, table)
    return [chart], f"Of test images it is {test:.1%} sure on average, of held-out ones {held_out:.1%}."


def _adversarial(subject: Subject) -> tuple[list[Block], str]:
    """What python -m src.review found, if it was asked."""
    folder = subject.run.folder / "review"
    ask = f"Adversarial validation was not done: python -m src.review run={subject.run.name} does it."
    if not (folder / "review.json").exists():
        return [], ask
    found = read_json(folder / "review.json").get("shift")
    if not found:
        return [], "Adversarial validation was left out by the review: too few images to compare."
    verdict = "unlike" if found["flagged"] else "like"
    told = (
        f"Adversarial validation: test images look {verdict} training images to the network "
        f"(AUC {found['auc']:.3f}, 95 % interval {found['low']:.3f} to {found['high']:.3f}; 0.5 is no difference)."
    )
    unlike = pd.read_csv(folder / "unlike.csv", dtype={"id": str}, keep_default_na=False).head(UNLIKE)
    samples = subject.opened.samples
    places = pd.Index(samples.test["id"]).get_indexer(unlike["id"])
    if (places < 0).any():
        raise Problem(
            f"{folder / 'unlike.csv'} names test images that are there no more: run python -m src.review again"
        )
    tiles = tuple(
        Tile((image,), (f"test image {line.id}",), (str(line.id), f"suspicion {line.suspicion:.2f}"))
        for line, image in zip(unlike.itertuples(), pictures(subject, len(samples.train) + places), strict=True)
    )
    title = "The test images most unlike the training images"
    return [Gallery("unlike", title, tiles, unlike[["id", "suspicion"]])] if tiles else [Text(ask)], told
