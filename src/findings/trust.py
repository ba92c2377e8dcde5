"""Can the score be trusted: how sure is the network and how right, do the folds agree, is the test set alike?"""

import numpy as np
import pandas as pd

from src.errors import Problem
from src.findings.subject import Subject
from src.findings.tiles import pictures
from src.inference.intervals import Z95, fold_luck, fold_spread, units, wilson
from src.inference.scores import probabilities
from src.inference.shift import compare_sets, drawn
from src.inference.tables import PLAIN
from src.reporting.page.blocks import Block, Chart, Gallery, Section, Tile
from src.reporting.page.charts import histograms, reliability
from src.runs import read_json

TITLE = "Can it be trusted?"
BINS, FEWEST = 15, 20  # bins of equally many answers, each of that many at least
LUCK = 0.05  # a p-value below which the folds differ by more than luck
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
    reading = " ".join(filter(None, (_calibrated(subject, bins), _spread(subject), drifted, told)))
    return Section("trust", TITLE, reading, tuple(blocks))


def calibration(subject: Subject) -> pd.DataFrame:
    """answers, confidence, right, low, high of each bin. An answer: an image's likeliest class; where several classes
    may apply, each class of an image."""
    sure, right = (values.ravel() for values in _sure_and_right(subject))
    parts = _bins(sure)
    count = np.array([len(part) for part in parts])
    hits = np.array([right[part].sum() for part in parts])
    low, high = wilson(hits / count, count)
    confidence = [sure[part].mean() for part in parts]
    return pd.DataFrame({"answers": count, "confidence": confidence, "right": hits / count, "low": low, "high": high})


def _sure_and_right(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """(images, answers of each) how sure each answer is, and whether it is right."""
    held, p = subject.held, subject.plain
    if held.several:
        return p, held.targets > 0.5
    return p.max(axis=1)[:, None], (subject.answers == held.targets)[:, None]


def _bins(sure: np.ndarray) -> list[np.ndarray]:
    """The answers' places, by how sure they are."""
    return np.array_split(np.argsort(sure, kind="stable"), int(np.clip(len(sure) // FEWEST, 1, BINS)))


def _calibrated(subject: Subject, bins: pd.DataFrame) -> str:
    """Sureness against truth, judged by what luck does to answers that are as sure as they are right."""
    sure, right = _sure_and_right(subject)
    gap, error = (
        float((sure - right).mean()),
        float(np.average((bins["confidence"] - bins["right"]).abs(), weights=bins["answers"])),
    )
    reach, usual = _luck(subject, sure, right)
    if subject.held.several:
        told = (
            f"To a class of an image the network says yes with {sure.mean():.1%} on average; {right.mean():.1%} apply"
        )
    else:
        told = f"The network is {sure.mean():.1%} sure on average and right in {right.mean():.1%}"
    told += f" (calibration error {error:.3f}; luck alone makes up to {usual:.3f}): "
    if abs(gap) > reach:
        how = "sure" if gap > 0 else "modest"
        return (
            told
            + f"it is too {how} by {abs(gap):.1%} (95 % interval {abs(gap) - reach:.1%} to {abs(gap) + reach:.1%})."
        )
    if error > usual:
        return told + "right on average, but not at every sureness: see where the curve leaves the dashed line."
    return told + f"no more than the luck of {len(sure)} images explains, which hides gaps of up to {reach:.1%}."


def _luck(subject: Subject, sure: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """How far luck, in 19 of 20 cases, takes the mean gap between sure and right, and the calibration error.

    Of answers that are right exactly as often as they are sure (Broecker and Smith, 2007). The gap's is widened where
    the answers of a group, or of an image, stray together.
    """
    spread, unit = sure * (1 - sure), units(subject.held.groups)
    together = np.bincount(unit, weights=(sure - right).sum(axis=1) - (sure - right).mean() * sure.shape[1])
    reach = Z95 * np.sqrt(max(spread.sum(), np.square(together).sum())) / sure.size
    parts, flat = _bins(sure.ravel()), spread.ravel()
    deviations = np.array([np.sqrt(flat[part].sum()) for part in parts]) / sure.size
    errors = np.abs(np.random.default_rng(0).normal(0, deviations, (1000, len(parts)))).sum(axis=1)
    return float(reach), float(np.quantile(errors, 0.95))


def _spread(subject: Subject) -> str:
    """The folds' scores against the luck of which images each holds."""
    held, metric = subject.held, subject.opened.metric
    spread = fold_spread(metric, held.targets, subject.plain, held.folds)
    if len(spread.scores) < 2:
        return "One fold alone: what another would have scored is not known."
    luck, p = fold_luck(metric, held.targets, subject.plain, held.folds, held.groups)
    said = (
        f"The folds score {spread.mean:.4f} ± {spread.deviation:.4f}; the same answers dealt to folds at random, "
        f"± {luck:.4f} (p = {p:.2f}): "
    )
    if p < LUCK:
        return said + "more than luck explains; look at what the weakest fold holds."
    return said + "no more than luck explains."


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
    """What python -m src.review found; where it was not asked, a first look at what one network answers."""
    folder = subject.run.folder / "review"
    if not (folder / "review.json").exists():
        return [], _first_look(subject)
    found = read_json(folder / "review.json").get("shift")
    if not found:
        return [], "Adversarial validation was left out by the review: too few images to compare."
    told = f"Adversarial validation, by a network's features: {_shift_told(**found)}."
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
    return [Gallery("unlike", title, tiles, unlike[["id", "suspicion"]])] if tiles else [], told


def _first_look(subject: Subject) -> str:
    """Adversarial validation on stored logits: one network's, of what it held out and of the test images."""
    opened, tables, member, held = subject.opened, subject.tables, subject.judges[0], subject.held
    ids = opened.samples.test["id"].to_numpy()
    ask = f"python -m src.review run={subject.run.name} looks closer, by a network's features"
    if not len(ids) or not tables.file(member, "test", "identity").exists():
        return f"Whether the test images are alike was not looked at; {ask}."
    rows, test = drawn(np.flatnonzero(held.folds == member.fold)), drawn(np.arange(len(ids)))
    logits = tables.read(member, "oof", "identity", held.id[rows]), tables.read(member, "test", "identity", ids[test])
    try:
        shift = compare_sets(*logits, held.groups[rows])
    except Problem as problem:
        return f"Whether the test images are alike cannot be told: {problem}."
    told = _shift_told(shift.auc, *shift.interval, shift.flagged)
    return f"Adversarial validation, a first look by what fold {member.fold}'s network answers: {told}; {ask}."


def _shift_told(auc: float, low: float, high: float, flagged: bool) -> str:
    verdict = (
        "test images are unlike training images, their class shares perhaps"
        if flagged
        else "no difference between test and training images was found"
    )
    return f"{verdict} (AUC {auc:.3f}, 95 % interval {low:.3f} to {high:.3f}; 0.5 is no difference)"
