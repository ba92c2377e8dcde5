"""Runs set side by side: one table, the curves, and each class, as a page, CSV, Markdown and PNG."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.competition.run_record import commit
from src.core.files import csv_for_people, write_text
from src.reporting.comparison_figures import (
    MATRICES,
    draw_best,
    draw_classes,
    draw_confusions,
    draw_curves,
    draw_scores,
    most_different,
)
from src.reporting.figures import save
from src.reporting.page.blocks import Code, Page, Picture, Section, Table, Text
from src.reporting.page.markdown import markdown_of
from src.reporting.page.write import html_of
from src.reporting.probe_floor import ProbeFloor
from src.training.logs import SIGNAL

NAMED = 12  # classes in the Markdown table


@dataclass(frozen=True)
class Outcomes:
    """Everything is joined by `label`, a run's values in words.

    cells: label and one column an axis. members: label, run, seed, fold and the scores of each trained fold.
    curves: their epochs as log.csv holds them. per_class: class, rows, and each run's share of them that it recognised;
    None where the outputs are no classes.
    confusions: {label: (classes, classes) answers to held-out rows, by truth; a row counts once a seed}; None where a
    row may have several classes.
    gains: label, gain, low, high against the best run; None where the runs held out different images. pick: what such a
    best run scores on rows that did not pick it, and its 95 % interval; None as gains. Both are of the seeds' mean
    probabilities, of which together holds {label: score}; None for one seed.
    floor: the best probe on the same images; None where there is none beside these runs, or as gains.
    """

    metric: str
    axes: tuple[str, ...]
    cells: pd.DataFrame
    best: str
    members: pd.DataFrame
    curves: pd.DataFrame
    per_class: pd.DataFrame | None
    gains: pd.DataFrame | None
    pick: tuple[float, float, float] | None
    floor: ProbeFloor | None = None
    higher_is_better: bool = True
    confusions: dict[str, np.ndarray] | None = None
    together: dict[str, float] | None = None

    @property
    def scores(self) -> list[str]:
        """The columns of `members` that are compared; what no run has (train_scores may be off) is left out."""
        tail = ["balanced_accuracy", "macro_f1", "rarest", "as_trained"]
        wanted = [
            self.metric,
            f"test_{self.metric}",
            "accuracy",
            *tail,
            "held_out_loss",
            f"train_{self.metric}",
            "train_loss",
        ]
        wanted += [*SIGNAL, "answers", "seconds"]
        return [name for name in dict.fromkeys(wanted) if name in self.members and self.members[name].notna().any()]


def write_comparison(
    folder: Path,
    title: str,
    command: str,
    outcomes: Outcomes,
    absent: dict[str, dict[str, str]],
    remarks: tuple[str, ...] = (),
) -> str:
    """Write comparison.html, the same as comparison.md, the CSV tables and the figures into `folder`; return the table
    as lines for a terminal.

    absent: {what became of them: {label: reason}} of the runs that are not among the outcomes. remarks: what else must
    be known to read the table.
    """
    summary = summarised(outcomes)
    tables = {"summary": summary, "members": outcomes.members, "curves": outcomes.curves}
    if outcomes.per_class is not None:
        tables["per_class"] = outcomes.per_class
    if outcomes.confusions is not None:
        tables["confusions"] = _confused(outcomes)
    if "score" in outcomes.curves:
        tables["best"] = best_of(outcomes)
    floor = outcomes.floor
    if floor:
        line = {"run": floor.run, outcomes.metric: floor.score, "low": floor.low, "high": floor.high}
        tables["floor"] = pd.DataFrame([line])
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", csv_for_people(table))
    pictures = {}
    for name, figure in _figures(outcomes, tables).items():
        save(figure, folder / f"{name}.png")
        pictures[name] = (folder / f"{name}.png").read_bytes()
    rows = _format(summary, outcomes)
    if floor:
        remarks = (f"The floor on the same images, a head on frozen features: {floor}.", *remarks)
    page = _page(title, command, outcomes, rows, absent, remarks, pictures)
    write_text(folder / "comparison.md", markdown_of(page))
    write_text(folder / "comparison.html", html_of(page))
    return "\n".join([rows.to_string(index=False), *filter(None, [_format_pick(outcomes)]), *remarks])


def _figures(outcomes: Outcomes, tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """{name: figure}, of what is known."""
    level = outcomes.floor.score if outcomes.floor else None
    known = outcomes.curves, outcomes.cells, outcomes.axes, outcomes.metric, level
    figures = {"curves": draw_curves(*known)}
    if "best" in tables:
        figures |= {"scores": draw_scores(*known), "best": draw_best(tables["best"], outcomes.metric)}
    if outcomes.confusions is not None:
        figures["confusions"] = draw_confusions(outcomes.confusions, outcomes.per_class["class"])
    if outcomes.per_class is not None:
        figures["per_class"] = draw_classes(outcomes.per_class)
    return figures


def best_of(outcomes: Outcomes) -> pd.DataFrame:
    """One row a run: its axes, the best score of any epoch and the last one's, means over folds and seeds.

    epoch: of the best, the median. best_sd: the standard deviation; no number for one fold of one seed.
    """
    sign, lines = 1 if outcomes.higher_is_better else -1, []
    known = outcomes.curves.dropna(subset="score").sort_values("epoch", kind="stable")
    for (label, _, _), log in known.groupby(["label", "seed", "fold"], sort=False):
        best = log.iloc[(sign * log["score"]).argmax()]
        lines.append((label, best["score"], best["epoch"], log["score"].iloc[-1]))
    each = pd.DataFrame(lines, columns=["label", "best", "epoch", "last"]).groupby("label", sort=False)
    table = each.agg(best=("best", "mean"), best_sd=("best", "std"), epoch=("epoch", "median"), last=("last", "mean"))
    return outcomes.cells.merge(table.reset_index(), on="label", how="left")


def _confused(outcomes: Outcomes) -> pd.DataFrame:
    """label, truth, answer, how often it was given (an image counts once a seed) and its share of the truth, a line
    for each that occurs."""
    classes, lines = list(outcomes.per_class["class"]), []
    for label, counts in outcomes.confusions.items():
        shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
        for truth, answer in zip(*np.nonzero(counts), strict=True):
            cell = counts[truth, answer], round(shares[truth, answer], 4)
            lines.append((label, classes[truth], classes[answer], *cell))
    return pd.DataFrame(lines, columns=["label", "truth", "answer", "count", "share"])


def summarised(outcomes: Outcomes) -> pd.DataFrame:
    """One row a run: its axes, how many folds and seeds, and mean and standard deviation (_sd) of every score."""
    groups = outcomes.members.groupby("label", sort=False)[outcomes.scores]
    # A mean over some of the folds would be compared with one over all of them, so one that lacks makes it none.
    spread = groups.std(ddof=1, skipna=False).add_suffix("_sd")
    columns = [name + end for name in outcomes.scores for end in ("", "_sd")]
    numbers = groups.mean(skipna=False).join(spread)[columns]
    numbers.insert(0, "members", outcomes.members.groupby("label", sort=False).size())
    table = outcomes.cells.merge(numbers.reset_index(), on="label")
    if outcomes.together is not None:
        table["together"] = table["label"].map(outcomes.together)
    return table if outcomes.gains is None else table.merge(outcomes.gains, on="label", how="left")


def _format(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """The summary as a person reads it, every cell a text."""
    table = summary[list(outcomes.axes)].copy()
    for name in outcomes.scores:
        digits = 0 if name == "seconds" else 1 if name == "answers" else 4
        pairs = zip(summary[name], summary[f"{name}_sd"], strict=True)
        table[name.replace("_", " ")] = [_pair(mean, spread, digits) for mean, spread in pairs]
    if outcomes.together is not None:
        table["seeds together"] = summary["together"].map("{:.4f}".format)
    if outcomes.gains is not None:
        against = [
            "best" if label == outcomes.best else f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"
            for label, gain, low, high in summary[["label", "gain", "low", "high"]].itertuples(index=False)
        ]
        table["against the best"] = against
    return table


def _pair(mean: float, spread: float, digits: int) -> str:
    if np.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if np.isnan(spread) else f" ± {spread:.{digits}f}")


def _page(
    title: str,
    command: str,
    outcomes: Outcomes,
    rows: pd.DataFrame,
    absent: dict[str, dict[str, str]],
    remarks: tuple[str, ...],
    pictures: dict[str, bytes],
) -> Page:
    """pictures: {name of a figure: PNG}; what was not drawn is not shown."""
    sections = [_answer(command, outcomes, rows, absent, remarks)]
    if "score" in outcomes.curves:
        sections.append(_best_by_run(outcomes, pictures))
    curves = _pictures(pictures, curves="loss and score of training and held-out rows")
    sections.append(Section("learning", "Epoch by epoch", "A line is the mean over folds and seeds.", curves))
    if outcomes.confusions is not None:
        sections.append(_matrices(outcomes, pictures))
    if outcomes.per_class is not None:
        sections.append(_class_by_class(outcomes.per_class, pictures))
    return Page(title, f"{datetime.date.today()}, commit {commit() or 'unknown'}", tuple(sections))


def _pictures(pictures: dict[str, bytes], **wanted: str) -> tuple[Picture, ...]:
    """wanted: {name: what it shows}."""
    return tuple(Picture(name, alt, alt, pictures[name]) for name, alt in wanted.items() if name in pictures)


def _answer(
    command: str, outcomes: Outcomes, rows: pd.DataFrame, absent: dict[str, dict[str, str]], remarks: tuple[str, ...]
) -> Section:
    members = outcomes.members
    where = f"Fold {_listed(members['fold'])}, seed {_listed(members['seed'])}, on {_listed(members['device'])}."
    blocks = [Code("The command", command), Table("", "The runs", rows)]
    blocks += [Text(note) for note in (*_notes(outcomes), *remarks)]
    for fate, runs in absent.items():
        lines = "\n".join(f"- {label}: {_line(reason)}" for label, reason in runs.items())
        blocks += [Code(f"{fate}, and therefore absent:", lines)] if runs else []
    return Section("answer", "The runs side by side", where, tuple(blocks))


def _best_by_run(outcomes: Outcomes, pictures: dict[str, bytes]) -> Section:
    """The best epoch of each run, with two axes as the table that a report prints: one down, one across."""
    best = best_of(outcomes)
    cells = [_pair(*pair, 4) for pair in zip(best["best"], best["best_sd"], strict=True)]
    if len(outcomes.axes) == 2:
        down, across = outcomes.axes
        order = list(dict.fromkeys(best[across]))
        table = best.assign(cell=cells).pivot(index=down, columns=across, values="cell")[order]
        table = table.loc[list(dict.fromkeys(best[down]))].fillna("-").reset_index()
    else:
        table = best[list(outcomes.axes)].assign(
            **{outcomes.metric: cells, "at epoch": best["epoch"].map("{:.0f}".format)}
        )
    told = (
        f"The best {outcomes.metric} of any epoch on the held-out rows, as reports print it. It was picked on the rows "
        "that score it, and flatters; what a run keeps is its last epoch unless train.keep=best."
    )
    figures = _pictures(pictures, scores="score by epoch of all runs", best="the best epoch of each run")
    return Section("best", "The best epoch of each run", told, (Table("", outcomes.metric, table), *figures))


def _matrices(outcomes: Outcomes, pictures: dict[str, bytes]) -> Section:
    count, drawn = len(outcomes.confusions), min(len(outcomes.confusions), MATRICES)
    of = f"the first {drawn} of {count} runs" if drawn < count else "every run"
    seeds = outcomes.members["seed"].nunique()
    each = f"each image is answered {seeds} times, once a seed" if seeds > 1 else "each image is answered once"
    told = (
        f"The answers to the held-out images of {of} by truth, as counts ({each}) and as shares of the truth; "
        "confusions.csv has all."
    )
    figures = _pictures(pictures, confusions="confusion matrices")
    return Section("mistakes", "What is taken for what", told, figures)


def _class_by_class(per_class: pd.DataFrame, pictures: dict[str, bytes]) -> Section:
    shown, told = most_different(per_class, NAMED), "The share of each class's held-out images that was recognised."
    table = shown.map(lambda x: f"{x:.3f}" if isinstance(x, float) else str(x))
    blocks = [Table("", "The classes that differ most first", table)]
    more = len(per_class) - len(shown)
    blocks += [Text(f"The other {more} classes stand in per_class.csv.")] if more else []
    blocks += _pictures(pictures, per_class="recognised share by class and run")
    return Section("classes", "Class by class", told, tuple(blocks))


def _format_pick(outcomes: Outcomes) -> str:
    """What the best run's score is worth, where it can be told; else nothing."""
    if outcomes.pick is None:
        return ""
    value, low, high = outcomes.pick
    score = outcomes.members.loc[outcomes.members["label"] == outcomes.best, outcomes.metric].mean()
    whose = "its"
    if outcomes.together is not None:
        score, whose = outcomes.together[outcomes.best], "its seeds' joint"
    return (
        f"{outcomes.best} is the pick of {len(outcomes.cells)} runs by the rows that score it, so that {whose} "
        f"{outcomes.metric} of {score:.4f} may flatter: picked on some rows and scored on the others, the best "
        f"of them has {value:.4f} (95 % interval {low:.4f} to {high:.4f})."
    )


def _notes(outcomes: Outcomes) -> list[str]:
    most = outcomes.members.groupby("label").size().max()
    notes = [
        f"± is the standard deviation over {most} trained folds and seeds."
        if most > 1
        else "One fold of one seed each: what another fold or seed would change is not known."
    ]
    whose = ""
    if outcomes.together is not None:
        notes[0] += f" Seeds together: the {outcomes.metric} of the mean of their probabilities."
        whose = " of the seeds together"
    if outcomes.gains is not None:
        notes[0] += (
            f" Against the best: the difference{whose} on the same held-out images (above 0 is better) with its 95 % "
            "interval for the luck of the images; where that holds 0, no difference can be told."
        )
    notes += filter(None, [_format_pick(outcomes)])
    if "data.ignore" in outcomes.axes:
        notes.append("Scored on the images that every run held out: what one of them ignores counts for none.")
    if "rarest" in outcomes.members:
        notes.append(
            "Rarest: the mean recall of the third of the classes with the fewest training rows. As trained: accuracy "
            "if the held-out rows came in the classes' shares of training."
        )
    notes.append(
        "Train: the training rows as they are, a fixed sample where there are many. Seconds: of the training steps, on "
        "a machine that other runs may have shared."
    )
    if "answers" in outcomes.members:
        notes.append("Answers: how many classes were answered at all; one alone is a network that tells nothing apart.")
        members = outcomes.members.groupby("label").size()
        alone = outcomes.members[outcomes.members["answers"] == 1].groupby("label", sort=False).size()
        dead = "; ".join(f"{label} ({count} of {members[label]})" for label, count in alone.items())
        if dead:
            notes.append(f"Warning: one answer for every held-out image, by so many of a run's networks: {dead}.")
    tested = outcomes.members.get(f"test_{outcomes.metric}")
    if tested is not None:
        notes.append(
            "Test: the test images, whose answers are known, in one view, by the weights that a run keeps, of the last "
            "epoch unless train.keep=best. What reports call the best test accuracy is of any epoch, picked on the "
            "test images. A run has this score once it has predicted, which the sweep's command with --predict does "
            "for all. Whoever picks a run by it has no test left."
        )
    unseen = outcomes.members["train_loss"].isna()
    if unseen.any():
        runs = _listed(outcomes.members.loc[unseen, "label"])
        notes.append(f"Trained without log.train_scores=true, so without scores of the training rows: {runs}.")
    return notes


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def _line(text: str) -> str:
    return " ".join(text.split())
