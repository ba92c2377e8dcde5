"""Columns of numbers: what they hold, and whether they can be what an image is to be answered with."""

import numpy as np
import pandas as pd

from src.competition.detect.marks import is_marked
from src.targets.label_cells import NO, YES

HALF, MANY, MARKS = 0.5, 20, 2  # of the cells; different numbers; words that stand for none
MOST = 0.9  # of the cells must be numbers: an odd one is told by its line, and makes no words of the others


def numbers_in(cells: pd.DataFrame) -> np.ndarray:
    """(rows, columns) float64, NaN where a cell is no finite number."""
    found = [pd.to_numeric(cells[column], errors="coerce").to_numpy(np.float64) for column in cells]
    values = np.stack(found, axis=1) if found else np.empty((len(cells), 0))
    return np.where(np.isfinite(values), values, np.nan)


def are_numbers(cells: pd.DataFrame) -> bool:
    """Whether nearly all cells of each column are numbers, and not all of them marks of yes, no and doubt. Many
    measurements with a word for those that lack, such as unknown, are numbers, too."""
    if not len(cells) or not cells.shape[1]:
        return False
    if all(set(cells[column].unique()) <= YES | NO or is_marked(cells[column]) for column in cells):
        return False
    values = numbers_in(cells)
    return all(_are_numbers(cells[column], values[:, k]) for k, column in enumerate(cells))


def _are_numbers(cells: pd.Series, values: np.ndarray) -> bool:
    there = np.isfinite(values)
    if there.mean() >= MOST:
        return True
    held = np.unique(values[there])
    measured = len(held) > MANY and (held % 1 != 0).mean() > 1 - MOST
    return bool(measured and there.mean() >= HALF and cells[~there].nunique() <= MARKS)


def are_measures(cells: pd.Series) -> bool:
    """Whether a column holds many numbers with a fraction, as no class is called."""
    values = numbers_in(cells.to_frame())[:, 0]
    held = np.unique(values[np.isfinite(values)])
    return bool(np.isfinite(values).mean() >= MOST and len(held) > 2 and (held % 1 != 0).mean() > 1 - MOST)
