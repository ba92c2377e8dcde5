"""What is the score, how sure is it, and how does it stand beside what was tried before?"""

from typing import Any

import numpy as np
import pandas as pd

from src.competition.labels import test_answers
from src.findings.subject import Subject
from src.inference.intervals import bootstrap_interval, difference_told, paired_difference
from src.inference.scores import OVERALL, probabilities
from src.inference.tables import PLAIN
from src.reporting.page.blocks import Chart, Section, Table
from src.reporting.page.charts import intervals
from src.runs import DONE, read_json, runs_folder
from src.submission import ledger

TEST = "test, its answers kept apart"
MOST_RUNS = 25  # the newest


def answer(subject: Subject) -> Section:
    scores, blocks = score_table(subject), []
    metric = subject.opened.metric.name
    if len(scores):
        alt = f"{metric} by fold and overall, with 95 % intervals"
        chart = Chart("scores", f"Score: {metric}, with its 95 % interval", alt, intervals(scores, metric), scores)
        blocks += [chart, Table("", "Every fold by its own network, on images that it never saw", _told(scores))]
    runs = _runs(subject)
    drawn = runs.rename(columns={"run": "name", "score": "value"}).assign(series="as submitted").dropna(subset="value")
    if len(drawn) > 1:
        alt = f"out-of-fold {metric} of {len(drawn)} runs of this competition, with intervals where they are known"
        blocks.append(Chart("runs_scores", "Beside the other runs", alt, intervals(drawn, metric), drawn))
    submitted = _submitted(subject)
    blocks += (
        [Table("submissions", "What was predicted, and what the leaderboard said", submitted)] if len(submitted) else []
    )
    blocks.append(Table("runs", "Runs of this competition, the newest last", runs))
    return Section("answer", "The answer", _reading(subject, scores, submitted), tuple(blocks))


def score_table(subject: Subject) -> pd.DataFrame:
    """name, series, rows, value, low, high: a line for each fold and overall, without and with TTA."""
    if subject.held is None:
        return pd.DataFrame()
    held, metric, lines = subject.held, subject.opened.metric, []
    ways = {"plain": subject.plain}
    if subject.views != PLAIN:
        ways[f"TTA of {len(subject.views)}"] = subject.tta
    names = {f"fold {fold}": held.folds == fold for fold in np.unique(held.folds)}
    names[OVERALL] = np.ones(len(held.id), dtype=bool)
    for name, rows in names.items():
        for way, table in ways.items():
            targets, shown = held.targets[rows], table[rows]
            low, high = bootstrap_interval(metric, targets, shown, held.groups[rows])
            lines.append((name, way, int(rows.sum()), metric.score(targets, shown), low, high))
    lines += _test_lines(subject, ways)
    return pd.DataFrame(lines, columns=["name", "series", "rows", "value", "low", "high"])


def _told(scores: pd.DataFrame) -> pd.DataFrame:
    """A line for each name, a column for each series: the score and its interval in words."""
    words = [f"{line.value:.4f} ({line.low:.4f} to {line.high:.4f})" for line in scores.itertuples()]
    wide = scores.assign(told=words).pivot(index=["name", "rows"], columns="series", values="told")
    order = scores[["name", "rows"]].drop_duplicates()
    return wide.loc[pd.MultiIndex.from_frame(order), list(dict.fromkeys(scores["series"]))].reset_index()


def _test_lines(subject: Subject, ways: dict[str, Any]) -> list[tuple]:
    """What a leaderboard would show, where the answers and the test logits are at hand."""
    opened, members = subject.opened, list(subject.members)
    ids = opened.samples.test["id"].to_numpy()
    truth = test_answers(opened.card, opened.samples, ids)
    files = [subject.tables.file(member, "test", view) for member in members for view in subject.views]
    if truth is None or not all(file.exists() for file in files):
        return []
    lines = []
    for way, views in zip(ways, (PLAIN, subject.views), strict=False):
        shown = probabilities(opened, subject.tables, members, views, "test", ids)
        low, high = bootstrap_interval(opened.metric, truth, shown, np.arange(len(ids)))
        lines.append((TEST, way, len(ids), opened.metric.score(truth, shown), low, high))
    return lines


def _submitted(subject: Subject) -> pd.DataFrame:
    """A line for each file that prediction made of this run, with the leaderboard's scores where it was pushed."""
    entries = {entry.sha256: entry for entry in ledger.read(subject.run.competition)[0]}
    lines = []
    for facts in subject.predictions:
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


def _runs(subject: Subject) -> pd.DataFrame:
    """A line for each run: its trained folds, their mean score, that of its newest prediction, the leaderboard's."""
    folder = runs_folder(subject.run.competition)
    files = sorted(folder.glob("*/run.json"), key=lambda file: file.stat().st_mtime)[-MOST_RUNS:]
    public = {}
    for entry in ledger.read(subject.run.competition)[0]:
        public |= {run: entry.public_score for run in entry.runs.split() if entry.public_score is not None}
    lines = []
    for run in dict.fromkeys([*(file.parent for file in files), subject.run.folder]):
        done = [read_json(file) for file in sorted(run.glob(f"seed*/fold*/{DONE}"))]
        scores = [one["score"] for one in done if "score" in one]
        newest = sorted((run / "predictions").glob("*.json"), key=lambda file: file.stat().st_mtime)[-1:]
        told = _score_of(read_json(newest[0])) if newest else dict.fromkeys(("score", "low", "high"), np.nan)
        own = " (this one)" if run == subject.run.folder else ""
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else np.nan
        line = {"run": run.name + own, "folds": len(done), "mean of folds": _mean(scores), "spread": spread}
        minutes = f"{sum(one.get('seconds', 0) for one in done) / 60:.1f}"
        lines.append(line | told | {"public": _number(public.get(run.name)), "minutes": minutes})
    return pd.DataFrame(lines)


def _reading(subject: Subject, scores: pd.DataFrame, submitted: pd.DataFrame) -> str:
    if subject.held is None:
        return "This model has seen every training image: none is left to score it on."
    metric, held = subject.opened.metric, subject.held
    last = scores[scores["name"] == OVERALL].iloc[-1]
    how = "better is higher" if metric.higher_is_better else "better is lower"
    told = (
        f"Score: {metric.name} {last['value']:.4f} ({last['series']}; {how}), 95 % interval {last['low']:.4f} to "
        f"{last['high']:.4f}, on {len(held.id)} held-out images of {_folds(held)}."
    )
    if subject.views != PLAIN:
        gain = paired_difference(metric, held.targets, subject.plain, subject.tta, held.groups)
        difference = difference_told("the plain view", f"TTA of {len(subject.views)} views", gain)
        told += f" {difference[0].upper()}{difference[1:]}."
    known = submitted.dropna(subset="public") if len(submitted) else submitted
    if len(known):
        best = known["public"].max() if metric.higher_is_better else known["public"].min()
        told += f" Best public score of this run: {best:.4f}."
    return told


def _folds(held: Any) -> str:
    count = len(np.unique(held.folds))
    return f"{count} folds" if count > 1 else "one fold"


def _score_of(facts: dict[str, Any]) -> dict[str, float]:
    score = facts.get("score") or {}
    return {to: _number(score.get(key)) for to, key in (("score", "value"), ("low", "low"), ("high", "high"))}


def _mean(scores: list[float]) -> float:
    return float(np.mean(scores)) if scores else np.nan


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
