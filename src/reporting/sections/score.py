"""What is the score, how sure is it, and how does it stand beside what was tried before?"""

from typing import Any

import numpy as np
import pandas as pd

from src.competition.labels import test_answers
from src.evaluation.bootstrap import bootstrap_interval, format_difference, format_interval, paired_difference
from src.inference.score_table import OVERALL, probabilities
from src.inference.tta import PLAIN
from src.metrics import Rows
from src.reporting.other_runs import runs_of, submitted_of
from src.reporting.page.blocks import Chart, Section, Table
from src.reporting.page.charts import intervals
from src.reporting.probe_floor import ProbeFloor
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS

TEST = "test, answers known"
PROBE = "probe, run"


@SECTIONS.register("answer")
def answer(results: RunResults) -> Section:
    scores, blocks = score_table(results), []
    metric = results.competition.metric.name
    if len(scores):
        alt = f"{metric} by fold and overall, with 95 % intervals"
        chart = Chart("scores", f"Score: {metric}, with its 95 % interval", alt, intervals(scores, metric), scores)
        blocks += [chart, Table("", _who_answered(results, scores), _format(scores))]
    runs = runs_of(results)
    known = runs.rename(columns={"run": "name", "score": "value"}).assign(series="as predicted").dropna(subset="value")
    alike = known["folds"] == runs["folds"].iloc[-1]
    drawn, left_out = known[alike], int((~alike).sum())
    if len(drawn) > 1:
        alt = f"out-of-fold {metric} of {len(drawn)} runs of the same folds, with intervals where they are known"
        title = "Beside the other runs of the same folds" + (
            f"; {left_out} of other folds left out" if left_out else ""
        )
        blocks.append(Chart("runs_scores", title, alt, intervals(drawn, metric), drawn))
    submitted = submitted_of(results)
    blocks += (
        [
            Table(
                "submissions",
                "What was predicted, its score after the decision rule, and what the leaderboard said",
                submitted,
            )
        ]
        if len(submitted)
        else []
    )
    blocks.append(Table("runs", "Runs of this competition, the newest last, then this one", runs))
    return Section("answer", "The answer", _reading(results, scores, submitted), tuple(blocks))


def score_table(results: RunResults) -> pd.DataFrame:
    """name, series, rows, value, low, high: a line for each fold and overall, without and with TTA."""
    if results.held is None:
        return pd.DataFrame()
    held, metric, lines = results.held, results.competition.metric, []
    candidates = {"plain": results.plain}
    if results.views != PLAIN:
        candidates[f"TTA of {len(results.views)}"] = results.tta
    names = {f"fold {fold}": held.folds == fold for fold in np.unique(held.folds)}
    names[OVERALL] = np.ones(len(held.id), dtype=bool)
    for name, rows in names.items():
        for candidate, table in candidates.items():
            targets, shown = held.targets[rows], table[rows]
            low, high = bootstrap_interval(metric, targets, shown, held.groups[rows], rows=held.rows.at(rows))
            lines.append(
                (name, candidate, int(rows.sum()), metric.score(targets, shown, rows=held.rows.at(rows)), low, high)
            )
    if results.floor:
        floor = results.floor
        lines.append((f"{PROBE} {floor.run}", "plain", len(held.id), floor.score, floor.low, floor.high))
    lines += _test_lines(results, candidates)
    return pd.DataFrame(lines, columns=["name", "series", "rows", "value", "low", "high"])


def _who_answered(results: RunResults, scores: pd.DataFrame) -> str:
    seeds = len({member.seed for member in results.members})
    text = "Held-out images, each answered by " + ("the network" if seeds == 1 else f"the {seeds} networks")
    text += " that never saw it" + (" together" if seeds > 1 else "")
    if (scores["name"] == TEST).any():
        text += f"; test images by all {len(results.members)} networks together"
    if results.floor:
        text += f"; {PROBE} {results.floor.run}: the same held-out images, by a head on frozen features"
    return f"{text}; {results.held.target.plain_rule}, before any decision rule"


def _format(scores: pd.DataFrame) -> pd.DataFrame:
    """A line for each name, a column for each series: the score and its interval in words."""
    words = [f"{line.value:.4f} ({format_interval(line.low, line.high)})" for line in scores.itertuples()]
    wide = scores.assign(cell=words).pivot(index=["name", "rows"], columns="series", values="cell")
    order = scores[["name", "rows"]].drop_duplicates()
    return wide.loc[pd.MultiIndex.from_frame(order), list(dict.fromkeys(scores["series"]))].reset_index()


def _test_lines(results: RunResults, candidates: dict[str, Any]) -> list[tuple]:
    """What a leaderboard would show, where the answers and the test logits are at hand."""
    competition, members = results.competition, list(results.members)
    ids = competition.samples.test["id"].to_numpy()
    truth = test_answers(competition.card, competition.samples.classes, ids)
    files = [results.tables.file(member, "test", view) for member in members for view in results.views]
    if truth is None or not all(file.exists() for file in files):
        return []
    lines = []
    for candidate, views in zip(candidates, (PLAIN, results.views), strict=False):
        shown = probabilities(competition, results.tables, members, views, "test", ids)
        low, high = bootstrap_interval(competition.metric, truth, shown, np.arange(len(ids)), rows=Rows(ids, ids))
        lines.append(
            (TEST, candidate, len(ids), competition.metric.score(truth, shown, rows=Rows(ids, ids)), low, high)
        )
    return lines


def _reading(results: RunResults, scores: pd.DataFrame, submitted: pd.DataFrame) -> str:
    if results.held is None:
        return "This model has seen every training image: none is left to score it on."
    metric, held = results.competition.metric, results.held
    last = scores[scores["name"] == OVERALL].iloc[-1]
    how = "better is higher" if metric.higher_is_better else "better is lower"
    text = (
        f"Score: {metric.name} {last['value']:.4f} ({last['series']}; {how}), 95 % interval "
        f"{format_interval(last['low'], last['high'])}, on {len(held.id)} held-out images of {_folds(results)}."
    )
    if results.views != PLAIN:
        gain = paired_difference(metric, held.targets, results.plain, results.tta, held.groups, rows=held.rows)
        difference = format_difference("the plain view", f"TTA of {len(results.views)} views", gain)
        text += f" {difference[0].upper()}{difference[1:]}."
    if results.floor:
        text += f" {_against(results, results.floor)}"
    known = submitted.dropna(subset="public") if len(submitted) else submitted
    if len(known):
        best = known["public"].max() if metric.higher_is_better else known["public"].min()
        text += f" Best public score of this run: {best:.4f}."
    return text


def _against(results: RunResults, floor: ProbeFloor) -> str:
    """The run beside the floor, on the same images in the plain view."""
    metric, held = results.competition.metric, results.held
    gain = paired_difference(metric, held.targets, floor.answers, results.plain, held.groups, rows=held.rows)
    more = f", the best of {floor.others + 1} probes" if floor.others else ""
    difference = format_difference("the probe", "this run", gain)
    return f"The floor, a head on frozen features: {floor}{more}; in the plain view {difference}."


def _folds(results: RunResults) -> str:
    count, there = results.competition.folds.count, set(results.held.folds.tolist())
    missing = [str(fold) for fold in range(count) if fold not in there]
    if not missing:
        return f"{count} folds"
    text = f"{len(there)} folds" if len(there) > 1 else "one fold"
    return f"{text} (fold {', '.join(missing)} of {count} {'is' if len(missing) == 1 else 'are'} not in it)"
