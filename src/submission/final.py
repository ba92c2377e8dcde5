"""The final two: which submissions to mark for the private leaderboard, and why.

By the out-of-fold score, not by the public one: the public part is small, and choosing by it fits its noise. The
second is one that cannot be told from the best, and differs from it most: if one is wrong, the other may not be.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from src.core.files import sha256_of
from src.core.paths import submissions_folder
from src.submission import ledger
from src.submission.ledger import Entry


def final_two(competition: str, slug: str, higher_is_better: bool, say: Callable[[str], None] = print) -> list[Entry]:
    """Choose up to two scored submissions of the competition, say why, and return them, the best first."""
    scored = [entry for entry in ledger.read(competition)[0] if entry.status == "COMPLETE"]
    candidates = list({entry.sha256 or entry.ref: entry for entry in scored if entry.oof_score is not None}.values())
    if not candidates:
        say(f"no scored submission to {competition} has an out-of-fold score: there is nothing to choose by")
        return []
    candidates.sort(key=lambda entry: entry.oof_score, reverse=higher_is_better)
    best, others = candidates[0], candidates[1:]
    say(f"1. {_named(best)}: the best out-of-fold score of {len(candidates)}")
    chosen = [best, *_second(competition, best, others, higher_is_better, say)]
    _say_public(scored, chosen, higher_is_better, say)
    say(f"Mark them at https://www.kaggle.com/competitions/{slug}/submissions (the kaggle command cannot)")
    return chosen


def difference(competition: str, one: Entry, other: Entry) -> float | None:
    """How far two submitted files differ, 0 to 1; None where one of them is not here any more.

    The share of rows whose answer differs: the answer's text, or the column of the largest probability. For one
    column of probabilities it is 1 - Spearman's rank correlation, at most 1.
    """
    tables = [_answers(competition, entry) for entry in (one, other)]
    if any(table is None for table in tables) or set(tables[0].index) != set(tables[1].index):
        return None
    first, second = tables[0], tables[1].loc[tables[0].index]
    if list(first.columns) != list(second.columns):
        return None
    numbers = [table.apply(pd.to_numeric, errors="coerce") for table in (first, second)]
    numeric = not any(table.isna().any(axis=None) for table in numbers)
    if numeric and first.shape[1] > 1:
        return float((numbers[0].idxmax(axis=1) != numbers[1].idxmax(axis=1)).mean())
    if numeric and any((table % 1 != 0).any(axis=None) for table in numbers):
        rank = numbers[0].iloc[:, 0].corr(numbers[1].iloc[:, 0], method="spearman")
        return None if pd.isna(rank) else float(min(1.0, 1 - rank))
    return float((first != second).any(axis=1).mean())


def _second(
    competition: str, best: Entry, others: Sequence[Entry], higher: bool, say: Callable[[str], None]
) -> list[Entry]:
    if not others:
        say("2. none: no other scored submission has an out-of-fold score")
        return []
    noise = (best.oof_low, best.oof_high)
    edge = None if None in noise else noise[0 if higher else 1]
    alike = [e for e in others if edge is not None and (e.oof_score >= edge if higher else e.oof_score <= edge)]
    if not alike:
        why = "has no interval" if edge is None else "is better than all others by more than its noise"
        say(f"2. {_named(others[0])}: the next best, as the first {why}; it serves as a safeguard")
        return [others[0]]
    known = [(distance, e) for e in alike if (distance := difference(competition, best, e)) is not None]
    if not known:
        say(f"2. {_named(alike[0])}: as good within the noise (files to compare with are not here any more)")
        return [alike[0]]
    distance, second = max(known, key=lambda pair: pair[0])  # of equals the better one, which comes first
    say(
        f"2. {_named(second)}: as good within the noise ({best.oof_low:.4f} to {best.oof_high:.4f}), and of "
        f"{len(known)} such the one that differs most from the first ({distance:.1%} of the answers)"
    )
    return [second]


def _say_public(scored: Sequence[Entry], chosen: Sequence[Entry], higher: bool, say: Callable[[str], None]) -> None:
    public = [entry for entry in scored if entry.public_score is not None]
    if not public:
        return
    top = (max if higher else min)(public, key=lambda entry: entry.public_score)
    if top not in chosen:
        why = "has no out-of-fold score" if top.oof_score is None else "is not the best out of fold"
        say(f"Not {_named(top)}, the best public score: it {why}, and the public part is a smaller sample")


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
