"""The final two: which submissions to mark for the private leaderboard, and why.

By the out-of-fold score, not by the public one: the public part is small, and choosing by it fits its noise. The
second is one that cannot be told from the best, and differs from it most: if one is wrong, the other may not be.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from src.core.console import log, note
from src.core.files import sha256_of
from src.core.paths import submissions_folder
from src.submission import ledger
from src.submission.ledger import Entry


def final_two(competition: str, slug: str, higher_is_better: bool) -> list[Entry]:
    """Choose up to two scored submissions of the competition, say why, and return them, the best first."""
    scored = [entry for entry in ledger.read(competition)[0] if entry.status == "COMPLETE"]
    candidates = list({entry.sha256 or entry.ref: entry for entry in scored if entry.oof_score is not None}.values())
    if not candidates:
        note(
            "nothing-to-choose",
            f"no scored submission to {competition} has an out-of-fold score: there is nothing to choose by",
        )
        return []
    # Where out-of-fold scores are equal, the public score parts them: there is nothing better to go by.
    sign = 1 if higher_is_better else -1
    candidates.sort(
        key=lambda entry: (
            sign * entry.oof_score,
            -math.inf if entry.public_score is None else sign * entry.public_score,
        ),
        reverse=True,
    )
    best, others = candidates[0], candidates[1:]
    equal = sum(entry.oof_score == best.oof_score for entry in others)
    shared = f", which {equal} more {'has' if equal == 1 else 'have'}" if equal else ""
    note("final-best", f"1. {_named(best)}: the best out-of-fold score of {len(candidates)}{shared}")
    chosen = [best, *_second(competition, best, others, higher_is_better)]
    _say_public(scored, chosen, higher_is_better)
    log.info(f"Mark them at https://www.kaggle.com/competitions/{slug}/submissions (the kaggle command cannot)")
    return chosen


def difference(competition: str, one: Entry, other: Entry) -> float | None:
    """How far two submitted files differ, 0 to 1; None where one of them is not here any more.

    The share of rows whose answer differs: the answer's text, or the column of the largest probability. For one
    column of fractions, and for columns of other numbers than probabilities, it is 1 - Spearman's rank correlation, of
    several columns the mean, at most 1.
    """
    tables = [_answers(competition, entry) for entry in (one, other)]
    if any(table is None for table in tables) or set(tables[0].index) != set(tables[1].index):
        return None
    first, second = tables[0], tables[1].loc[tables[0].index]
    if list(first.columns) != list(second.columns):
        return None
    numbers = [table.apply(pd.to_numeric, errors="coerce") for table in (first, second)]
    numeric = not any(table.isna().any(axis=None) for table in numbers)
    shares = numeric and all(((table >= 0) & (table <= 1)).all(axis=None) for table in numbers)
    if shares and first.shape[1] > 1:
        return float((numbers[0].idxmax(axis=1) != numbers[1].idxmax(axis=1)).mean())
    if numeric and (first.shape[1] > 1 or any((table % 1 != 0).any(axis=None) for table in numbers)):
        ranks = [numbers[0][name].corr(numbers[1][name], method="spearman") for name in first.columns]
        return None if pd.isna(ranks).any() else float(min(1.0, 1 - sum(ranks) / len(ranks)))
    return float((first != second).any(axis=1).mean())


def _second(competition: str, best: Entry, others: Sequence[Entry], higher: bool) -> list[Entry]:
    if not others:
        note("final-none", "2. none: no other scored submission has an out-of-fold score")
        return []
    noise = (best.oof_low, best.oof_high)
    known_noise = None not in noise
    edge = noise[0 if higher else 1] if known_noise else best.oof_score  # without an interval only equals are alike
    alike = [e for e in others if (e.oof_score >= edge if higher else e.oof_score <= edge)]
    as_good = f"as good within the noise ({noise[0]:.4f} to {noise[1]:.4f})" if known_noise else "as good"
    if not alike:
        why = "is better than all others by more than its noise" if known_noise else "has no interval"
        note("final-safeguard", f"2. {_named(others[0])}: the next best, as the first {why}; it serves as a safeguard")
        return [others[0]]
    known = [(distance, e) for e in alike if (distance := difference(competition, best, e)) is not None]
    if not known:
        note("final-alike", f"2. {_named(alike[0])}: {as_good}; files to compare with are not here any more")
        return [alike[0]]
    distance, second = max(known, key=lambda pair: pair[0])  # of equals the better one, which comes first
    note(
        "final-most-different",
        f"2. {_named(second)}: {as_good}, and of {len(known)} such the one that differs most from the first "
        f"({distance:.1%} of the answers)",
    )
    return [second]


def _say_public(scored: Sequence[Entry], chosen: Sequence[Entry], higher: bool) -> None:
    public = [entry for entry in scored if entry.public_score is not None]
    if not public:
        return
    top = (max if higher else min)(public, key=lambda entry: entry.public_score)
    if all(entry.public_score != top.public_score for entry in chosen):
        why = "has no out-of-fold score" if top.oof_score is None else "is not better out of fold"
        note(
            "public-best-left-out",
            f"Not {_named(top)}, the best public score: it {why}, and the public part is a smaller sample",
        )


def _named(entry: Entry) -> str:
    oof = "" if entry.oof_score is None else f", out of fold {entry.oof_score:.4f}"
    public = "" if entry.public_score is None else f", public {entry.public_score:.4f}"
    return f"{entry.file} (ref {entry.ref or '?'}{oof}{public})"


def _answers(competition: str, entry: Entry) -> pd.DataFrame | None:
    path = submissions_folder(competition) / Path(entry.file).name
    if not entry.sha256 or not path.is_file() or sha256_of(path) != entry.sha256:
        return None
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=0)
    except ValueError:
        return None
    return table if table.index.is_unique else None
