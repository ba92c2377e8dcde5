"""What stands beside a run's score: what was submitted of it, and the other runs of its competition."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.core.files import read_json
from src.core.paths import DONE, runs_folder
from src.reporting.run_results import RunResults
from src.submission import ledger

MOST_RUNS = 25  # the newest


def submitted_of(results: RunResults) -> pd.DataFrame:
    """A line for each file that prediction made of this run, with the leaderboard's scores where it was pushed."""
    entries = {entry.sha256: entry for entry in ledger.read(results.run.competition)[0]}
    lines = []
    for facts in results.predictions:
        entry = entries.get(facts["sha256"], ledger.Entry())
        decision = (facts.get("decision") or {}).get("name", "plain")
        lines.append(
            {
                "file": facts["file"],
                "views": ", ".join(facts["views"]),
                "decision": decision,
                **_score_of(facts),
                "public": _number(entry.public_score),
                "private": _number(entry.private_score),
                "status": entry.status or "not submitted",
            }
        )
    return pd.DataFrame(lines)


def runs_of(results: RunResults) -> pd.DataFrame:
    """A line for each blend that was submitted, then for each run, this one last: its folds, their mean score, that of
    its newest prediction, the leaderboard's."""
    public = _public(results)
    files = sorted(runs_folder(results.run.competition).glob("*/run.json"), key=lambda file: file.stat().st_mtime)
    others = [file.parent for file in files if file.parent != results.run.folder][1 - MOST_RUNS :]
    lines = [{"run": " + ".join(runs), "public": best} for runs, best in public.items() if len(runs) > 1]
    for run in (*others, results.run.folder):
        done = [read_json(file) for file in sorted(run.glob(f"seed*/fold*/{DONE}"))]
        scores = [one["score"] for one in done if "score" in one]
        folds = {file.parent.name.removeprefix("fold") for file in run.glob("seed*/*/logits")}
        text = _newest_score(run, folds)
        own = " (this one)" if run == results.run.folder else ""
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else np.nan
        seconds = round(sum(one.get("seconds", 0) for one in done))
        # Which folds of which table: what two runs must share to be set side by side.
        which = f"{','.join(sorted(folds)) or 'none'} of {read_json(run / 'run.json')['folds']}"
        line = {"run": run.name + own, "folds": which, "mean of folds": _mean(scores), "spread": spread}
        lines.append(line | text | {"public": _number(public.get((run.name,))), "seconds": seconds})
    columns = ["run", "folds", "mean of folds", "spread", "score", "low", "high", "public", "seconds"]
    return pd.DataFrame(lines, columns=columns).astype({"seconds": "Int64"}).fillna({"folds": "several runs"})


def _newest_score(run: Path, folds: set[str]) -> dict[str, float]:
    """score, low, high of the newest prediction by all folds that the run has; NaN where there is none."""
    files = sorted((run / "predictions").glob("*.json"), key=lambda file: file.stat().st_mtime)
    alike = [facts for facts in map(read_json, files) if set(facts["folds"]) == folds]
    return _score_of(alike[-1] if alike else {})


def _public(results: RunResults) -> dict[tuple[str, ...], float]:
    """The best public score of each run, and of each set of runs that was submitted as one."""
    best, pick = {}, max if results.competition.metric.higher_is_better else min
    for entry in ledger.read(results.run.competition)[0]:
        if entry.runs and entry.public_score is not None:
            runs = tuple(entry.runs.split())
            best[runs] = pick(best.get(runs, entry.public_score), entry.public_score)
    return best


def _score_of(facts: dict[str, Any]) -> dict[str, float]:
    score = facts.get("score") or {}
    return {to: _number(score.get(key)) for to, key in (("score", "value"), ("low", "low"), ("high", "high"))}


def _mean(scores: list[float]) -> float:
    return float(np.mean(scores)) if scores else np.nan


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
