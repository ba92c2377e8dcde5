"""Class by class: how many of its images are recognised, and what the others are taken for."""

import numpy as np
import pandas as pd

from src.evaluation.bootstrap import wilson
from src.reporting.confusions import confusion_of
from src.reporting.page.blocks import Bar, Bars, Matrix
from src.reporting.page.charts import class_bars, confusion
from src.reporting.run_results import RunResults
from src.reporting.tiles import isolated


def by_class(results: RunResults) -> pd.DataFrame:
    """class, rows, right, value (their share), low, high (Wilson's 95 % interval), taken_for, times.

    Sorted by `high`: a class of few images is not called hard for one bad draw.
    """
    held, answers, count = results.held, results.answers, len(results.classes)
    rows, right = held.target.recognised(held.targets, answers, count)
    if not held.target.one_class:
        wrong = pd.DataFrame({"taken_for": "", "times": 0}, index=range(count))
    else:
        others = confusion_of(results)
        np.fill_diagonal(others, 0)
        most = others.argmax(axis=1)
        times = others[np.arange(count), most]
        names = np.where(times > 0, np.array(results.classes, dtype=object)[most], "")
        wrong = pd.DataFrame({"taken_for": names, "times": times})
    share = np.divide(right, rows, out=np.full(count, np.nan), where=rows > 0)
    low, high = wilson(share, rows)
    table = pd.DataFrame(
        {"class": results.classes, "rows": rows, "right": right, "value": share, "low": low, "high": high}
    )
    return pd.concat([table, wrong], axis=1).sort_values("high", kind="stable", ignore_index=True)


def bars_of(table: pd.DataFrame) -> Bars:
    bars = tuple(
        Bar(
            line["class"],
            line.value,
            f"{line.right} of {line.rows}, {line.value:.3f}",
            line.low,
            line.high,
            f"most often taken for {isolated(line.taken_for)} ({line.times})" if line.times else "",
        )
        for _, line in table[table["rows"] > 0].iterrows()
    )
    known = table[table["rows"] > 0]
    title = "Share of each class's held-out images that is recognised, the surely hard first, with 95 % intervals"
    alt = f"{len(known)} classes, from {known['value'].min():.3f} to {known['value'].max():.3f}"
    return Bars("per_class", title, alt, bars, class_bars(known, "share that is recognised"), table)


def matrix_of(results: RunResults, counts: np.ndarray, order: np.ndarray) -> Matrix:
    names, sorted_counts = tuple(results.classes[k] for k in order), counts[np.ix_(order, order)]
    rows, columns = np.nonzero(sorted_counts)
    numbers = pd.DataFrame(
        {
            "truth": [names[row] for row in rows],
            "answer": [names[column] for column in columns],
            "images": sorted_counts[rows, columns],
        }
    )
    wrong = int(counts.sum() - counts.trace())
    alt = f"confusion matrix of {len(names)} classes: {int(counts.trace())} images right, {wrong} wrong"
    near = "" if results.held.target.ordered or len(names) < 3 else ", classes that are confused side by side"
    title = f"Confusion matrix of {len(results.held.id)} held-out images{near}"
    return Matrix("confusion", title, alt, names, sorted_counts, confusion(names, sorted_counts), numbers)
