"""What the ledger tells: a table of the submissions, and whether the out-of-fold score can be trusted.

Only what the numbers carry is said. The out-of-fold interval gives the noise of a score on as many images as the
training data has; how many images the public part has is seldom known, and fewer of them are noisier.
"""

import math
from collections.abc import Sequence

import numpy as np

from src.core.console import Note, log, note
from src.submission import ledger
from src.submission.ledger import Entry

FEWEST = 6  # pairs of scores below which no correlation is told
Z95 = 1.96
# The gap of two independent scores has the noise of both. A public part as large as the training data: sqrt(1 + 1)
# times the out-of-fold noise; one an eighth as large: sqrt(1 + 8) times.
LARGE_PART, SMALL_PART = math.sqrt(2), math.sqrt(9)


def history(competition: str) -> list[Entry]:
    """Tell the competition's submissions, their gaps, and the correlation of out-of-fold and public scores."""
    entries, complaints = ledger.read(competition)
    for complaint in complaints:
        note("ledger-line-unreadable", f"warning: {complaint}")
    if not entries:
        note(
            "no-submissions",
            f"no submissions to {competition} yet (python -m src.submit --sync takes in those made by hand)",
        )
        return []
    log.info(f"== {competition}")
    log.info(table(entries))
    for one in (*correlation(entries), *gaps(entries)):
        note(one.code, one.text)
    return list(entries)


def table(entries: Sequence[Entry]) -> str:
    """One line a submission, oldest first."""
    rows = [("time", "ref", "status", "out of fold", "public", "private", "gap", "file")]
    for entry in entries:
        rows.append(
            (
                entry.time[:16].replace("T", " "),
                entry.ref or "-",
                entry.status,
                _interval(entry),
                _shown(entry.public_score),
                _shown(entry.private_score),
                _shown(_gap(entry), "+.4f"),
                entry.file + (f"  ({entry.reason})" if entry.reason else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [[cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)] + [row[-1]] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def correlation(entries: Sequence[Entry]) -> list[Note]:
    """Whether ranking models by their out-of-fold score ranks them as the public leaderboard does."""
    from scipy.stats import spearmanr

    pairs = [(e.oof_score, e.public_score) for e in entries if e.oof_score is not None and e.public_score is not None]
    if len(pairs) < FEWEST:
        text = f"correlation: cannot be told from {len(pairs)} scored submissions ({FEWEST} at least)"
        return [Note("correlation-unknown", text)]
    oof, public = np.array(pairs).T
    if np.ptp(oof) == 0 or np.ptp(public) == 0:
        return [Note("correlation-unknown", "correlation: cannot be told, all scores of one kind are equal")]
    rank = float(spearmanr(oof, public).statistic)
    # Fisher's z with the standard error of Bonett and Wright (2000) for rank correlations.
    wide = Z95 * math.sqrt((1 + rank**2 / 2) / (len(pairs) - 3))
    middle = math.atanh(max(-0.999, min(0.999, rank)))
    low, high = math.tanh(middle - wide), math.tanh(middle + wide)
    if low > 0:
        code, comparison = (
            "correlation-positive",
            "a better out-of-fold score goes with a better public one: choose by it",
        )
    elif high < 0:
        code = "correlation-negative"
        comparison = "WARNING: a better out-of-fold score goes with a worse public one: look for a leak between folds"
    else:
        code, comparison = "correlation-uncertain", "too uncertain to say that one follows the other"
    text = f"correlation: {rank:+.2f} by rank, 95% interval {low:+.2f} to {high:+.2f}, {len(pairs)} pairs; {comparison}"
    spread = _noise(entries)
    if spread is None or np.ptp(oof) >= Z95 * LARGE_PART * spread:
        return [Note(code, text)]
    alike = "  the out-of-fold scores differ by no more than their noise, so their order means little"
    return [Note(code, text), Note("scores-alike", alike)]


def gaps(entries: Sequence[Entry]) -> list[Note]:
    """Which gaps between public and out-of-fold score are noise, and which are a warning.

    All submissions share the same test images, so the part of the gap that is common to them is judged once, and
    then each submission by how far it stands from the others.
    """
    text = [entry for entry in entries if _gap(entry) is not None]
    noise = _noise(text)
    if not text or noise is None:
        unknown = "gap: cannot be judged, no scored submission has an out-of-fold score with its interval"
        return [Note("gap-unknown", unknown)]
    common = float(np.median([_gap(entry) for entry in text]))
    lines = [_judged(f"gap, public minus out of fold: {common:+.4f} in the middle", common, noise)]
    for entry in text if len(text) > 2 else ():
        own = _gap(entry) - common
        if abs(own) > Z95 * LARGE_PART * noise:
            lines.append(_judged(f"  {entry.ref or entry.file}: {own:+.4f} beside the others", own, noise))
    large, small = Z95 * LARGE_PART * noise, Z95 * SMALL_PART * noise
    reach = (
        f"  (noise reaches {large:.4f} where the public part has as many images as the training data, and {small:.4f} "
        "where it has an eighth of them)"
    )
    return [*lines, Note("", reach)]


def _judged(what: str, gap: float, noise: float) -> Note:
    if abs(gap) <= Z95 * LARGE_PART * noise:
        return Note("gap-noise", f"{what}: noise")
    if abs(gap) <= Z95 * SMALL_PART * noise:
        unsure = "noise if the public part is small, else a sign of a difference; it cannot be told"
        return Note("gap-unsure", f"{what}: {unsure}")
    warning = (
        "WARNING, more than noise: test images of another kind, a fault in how they are predicted, or, where the "
        "public score is the worse, a leak between folds"
    )
    return Note("gap-warning", f"{what}: {warning}")


def _gap(entry: Entry) -> float | None:
    if entry.public_score is None or entry.oof_score is None:
        return None
    return entry.public_score - entry.oof_score


def _noise(entries: Sequence[Entry]) -> float | None:
    """The usual standard error of the out-of-fold scores, from their 95% intervals."""
    widths = [e.oof_high - e.oof_low for e in entries if e.oof_high is not None and e.oof_low is not None]
    return float(np.median(widths)) / (2 * Z95) if widths else None


def _interval(entry: Entry) -> str:
    if entry.oof_score is None:
        return "-"
    interval = (
        "" if entry.oof_low is None or entry.oof_high is None else f" [{entry.oof_low:.4f}, {entry.oof_high:.4f}]"
    )
    return f"{entry.oof_score:.4f}{interval}"


def _shown(number: float | None, form: str = ".4f") -> str:
    return "-" if number is None else format(number, form)
