"""How far the numbers are off: predictions against truth, residuals, groups, and the images that are furthest off."""

import numpy as np
import pandas as pd

from src.reporting.page.blocks import Block, Chart, Gallery, Section, Table, Tile
from src.reporting.page.charts import histograms, points
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.tiles import isolated, pictures

TITLE = "How far off"
POINTS = 2000  # of an output's scatter
WORST, GROUPS = 12, 10
FAR = 3.0  # robust standard deviations of the residuals from which a row is called far off


@SECTIONS.register("residuals")
def residuals(results: RunResults) -> Section:
    if results.held is None:
        return Section("residuals", TITLE, "No image was held out, so no error is known.", ())
    off = results.plain - results.held.targets
    blocks: list[Block] = []
    for k, name in enumerate(results.classes):
        blocks += [_scatter(results, k, name), _histogram(off[:, k], k, name)]
    blocks.append(_worst(results))
    blocks += _by_group(results, off)
    return Section("residuals", TITLE, _reading(results, off), tuple(blocks))


def _scatter(results: RunResults, k: int, name: str) -> Chart:
    truth, answer = results.held.targets[:, k], results.plain[:, k]
    rows = np.sort(np.random.default_rng(0).permutation(len(truth))[:POINTS])
    numbers = pd.DataFrame({"id": results.held.id, "truth": truth, "prediction": answer})
    ends = np.array([min(truth.min(), answer.min()), max(truth.max(), answer.max())])
    draw = points({"held-out images": (truth[rows], answer[rows]), "as it is": (ends, ends)}, "truth", "prediction")
    together = np.corrcoef(truth, answer)[0, 1] if np.ptp(truth) and np.ptp(answer) else np.nan
    alt = f"predictions of {name} against the truth, correlation {together:.3f}"
    return Chart(f"scatter_{k + 1}", f"{isolated(name)}: prediction against truth", alt, draw, numbers)


def _histogram(off: np.ndarray, k: int, name: str) -> Chart:
    counts, edges = np.histogram(off, bins=25)
    table = pd.DataFrame({"left": edges[:-1], "right": edges[1:], "held-out images": counts / len(off)})
    title = f"{isolated(name)}: residuals, mean {off.mean():+.4g}, standard deviation {off.std():.4g}"
    draw = histograms(table, "prediction - truth", "share of the images")
    return Chart(f"residuals_{k + 1}", title, f"how far predictions of {name} lie from the truth", draw, table)


def _far(results: RunResults) -> np.ndarray:
    """(rows,) the largest residual of each row, in robust standard deviations of its output's."""
    return np.abs(results.held.target.outliers(results.held.targets, results.plain)).max(axis=1)


def _worst(results: RunResults) -> Gallery:
    """Rows whose residual is out of the common: hard images, or wrong numbers in the table."""
    far = _far(results)
    order = np.argsort(-far, kind="stable")
    target, names = results.held.target, results.classes
    truth = [", ".join(row) for row in target.cells(results.held.targets[order], names)]
    said = [", ".join(row) for row in target.cells(results.plain[order], names)]
    numbers = pd.DataFrame({"id": results.held.id[order], "truth": truth, "prediction": said, "far": far[order]})
    first = numbers.head(WORST)
    tiles = tuple(
        Tile(
            (image,),
            (f"id {line.id}, {line.truth} by the table, predicted {line.prediction}",),
            (f"by the table {line.truth}", f"predicted {line.prediction}", f"id {line.id}"),
        )
        for line, image in zip(first.itertuples(), pictures(results, results.rows[order[:WORST]]), strict=True)
    )
    return Gallery("furthest_off", "The images that are furthest off: hard ones, or wrong numbers", tiles, numbers)


def _by_group(results: RunResults, off: np.ndarray) -> list[Block]:
    """The groups of the card with the largest mean residual, where there are some."""
    groups = results.competition.samples.train["group"].to_numpy()[results.rows]
    if not (groups != "").any():
        return []
    table = pd.DataFrame(off, columns=list(results.classes)).assign(group=groups)
    table = table[table["group"] != ""].groupby("group").agg(["size", "mean", "std"])
    sizes = table[results.classes[0]]["size"]
    shown = pd.DataFrame({"group": table.index, "rows": sizes.to_numpy()})
    for name in results.classes:
        shown[f"{name}, mean residual"] = table[name]["mean"].to_numpy()
    largest = (shown.iloc[:, 2:].abs() / off.std(axis=0).clip(1e-300)).max(axis=1) * np.sqrt(shown["rows"])
    shown = shown.loc[largest.sort_values(ascending=False, kind="stable").index[:GROUPS]]
    return [Table("group_residuals", "The groups whose residuals lie surest off 0", shown)]


def _reading(results: RunResults, off: np.ndarray) -> str:
    truth, parts = results.held.targets, []
    for k, name in enumerate(results.classes):
        spread = truth[:, k].std()
        explained = 1 - np.square(off[:, k]).mean() / spread**2 if spread > 0 else np.nan
        parts.append(
            f"{isolated(name)}: {explained:.1%} of the variance is explained, mean residual {off[:, k].mean():+.4g}"
        )
    count = int((_far(results) > FAR).sum())
    return "; ".join(parts) + f". {count} of {len(off)} images lie {FAR:g} robust standard deviations off, or more."
