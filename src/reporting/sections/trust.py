"""Can the score be trusted: how sure is the network and how right, do the folds agree, is the test set alike?"""

import numpy as np
import pandas as pd

from src.core.errors import Problem
from src.core.files import read_csv, read_json, undefused
from src.evaluation.bootstrap import fold_luck, fold_spread
from src.inference.score_table import probabilities
from src.inference.tta import PLAIN
from src.reporting.adversarial_validation import compare_sets, drawn
from src.reporting.page.blocks import Block, Chart, Gallery, Section, Tile
from src.reporting.page.charts import histograms, reliability
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.sections.calibration import calibrated, calibration
from src.reporting.tiles import pictures

TITLE = "Can it be trusted?"
LUCK = 0.05  # a p-value below which the folds differ by more than luck
UNLIKE = 8


@SECTIONS.register("trust")
def trust(results: RunResults) -> Section:
    if results.held is None:
        return Section("trust", TITLE, "No image was held out, so nothing can be checked.", ())
    bins = calibration(results)
    alt = "share of right answers by how sure the network was of them, in bins of equally many answers"
    blocks: list[Block] = [Chart("calibration", "Calibration", alt, reliability(bins), bins)]
    unlike, text = _adversarial(results)
    blocks += [*_sureness(results), *unlike]
    reading = " ".join((calibrated(results, bins), _spread(results), text))
    return Section("trust", TITLE, reading, tuple(blocks))


def _spread(results: RunResults) -> str:
    """The folds' scores against the luck of which images each holds."""
    held, metric = results.held, results.competition.metric
    spread = fold_spread(metric, held.targets, results.plain, held.folds, held.rows)
    if len(spread.scores) < 2:
        return "One fold alone: what another would have scored is not known."
    luck, p = fold_luck(metric, held.targets, results.plain, held.folds, held.groups, rows=held.rows)
    said = (
        f"The folds score {spread.mean:.4f} ± {spread.deviation:.4f}; the same answers dealt to folds at random, "
        f"± {luck:.4f} (p = {p:.2f}): "
    )
    if p < LUCK:
        return said + "more than luck explains; look at what the weakest fold holds."
    return said + "no more than luck explains."


def _sureness(results: RunResults) -> list[Block]:
    """How sure the network is of test images against held-out ones; nothing where test logits are not stored."""
    competition, members = results.competition, list(results.members)
    files = [results.tables.file(member, "test", "identity") for member in members]
    if (
        not results.held.target.sums_to_one
        or not len(competition.samples.test)
        or not all(file.exists() for file in files)
    ):
        return []
    # One fold's network at a time: a mean over folds is less sure than each of them.
    ids = competition.samples.test["id"].to_numpy()
    folds = np.unique(results.held.folds)
    tested = [
        probabilities(competition, results.tables, [m for m in members if m.fold == fold], PLAIN, "test", ids).max(
            axis=1
        )
        for fold in folds
    ]
    sets = {"held-out images": results.plain.max(axis=1), "test images": np.concatenate(tested)}
    edges = np.linspace(0, 1, 21)
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:]})
    for name, values in sets.items():
        table[name] = np.histogram(values.clip(0, 1), edges)[0] / len(values)
    held_out, test = (float(values.mean()) for values in sets.values())
    alt = f"how sure the networks are: {held_out:.3f} on average of held-out images, {test:.3f} of test images"
    draw = histograms(table, "how sure the network is of its answer", "share of the images")
    chart = Chart("sureness", f"Sureness: held out {held_out:.3f}, test {test:.3f} on average", alt, draw, table)
    return [chart]


def _adversarial(results: RunResults) -> tuple[list[Block], str]:
    """What python -m src.review found; where it was not asked, a first look at what one network answers."""
    folder = results.run.folder / "review"
    if not (folder / "review.json").exists():
        return [], _first_look(results)
    found = read_json(folder / "review.json").get("shift")
    if not found:
        return [], "Adversarial validation was left out by the review: too few images to compare."
    text = _format_shift(found["auc"], found["low"], found["high"], found["flagged"])
    text = f"Adversarial validation, by a network's features: {text}."
    unlike = read_csv(folder / "unlike.csv", ("suspicion",), "run python -m src.review again", {"id": str}).head(UNLIKE)
    unlike["id"] = unlike["id"].map(undefused)
    samples = results.competition.samples
    places = pd.Index(samples.test["id"]).get_indexer(unlike["id"])
    if (places < 0).any():
        raise Problem(
            f"{folder / 'unlike.csv'} names test images that are there no more: run python -m src.review again",
            code="review-outdated",
        )
    tiles = tuple(
        Tile((image,), (f"test image {line.id}",), (str(line.id), f"suspicion {line.suspicion:.2f}"))
        for line, image in zip(unlike.itertuples(), pictures(results, len(samples.train) + places), strict=True)
    )
    title = "The test images most unlike the training images"
    return [Gallery("unlike", title, tiles, unlike[["id", "suspicion"]])] if tiles else [], text


def _first_look(results: RunResults) -> str:
    """Adversarial validation on stored logits: one network's, of what it held out and of the test images."""
    competition, tables, member, held = results.competition, results.tables, results.judges[0], results.held
    ids = competition.samples.test["id"].to_numpy()
    ask = f"python -m src.review run={results.run.name} looks closer, by a network's features"
    if not len(ids) or not tables.file(member, "test", "identity").exists():
        return f"Whether the test images are alike was not looked at; {ask}."
    rows, test = drawn(np.flatnonzero(held.folds == member.fold)), drawn(np.arange(len(ids)))
    logits = tables.read(member, "oof", "identity", held.id[rows]), tables.read(member, "test", "identity", ids[test])
    try:
        shift = compare_sets(*logits, held.groups[rows])
    except Problem as problem:
        return f"Whether the test images are alike cannot be told: {problem}."
    text = _format_shift(shift.auc, *shift.interval, shift.flagged)
    return f"Adversarial validation, a first look by what fold {member.fold}'s network answers: {text}; {ask}."


def _format_shift(auc: float, low: float, high: float, flagged: bool) -> str:
    comparison = (
        "test images are unlike training images, their class shares perhaps"
        if flagged
        else "no difference between test and training images was found"
    )
    return f"{comparison} (AUC {auc:.3f}, 95 % interval {low:.3f} to {high:.3f}; 0.5 is no difference)"
