"""Runs set side by side: one table, the curves, and each class, as CSV, Markdown and PNG."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.competition.run_record import commit
from src.core.files import csv_for_people, write_text
from src.reporting.comparison_figures import draw_classes, draw_curves, most_different
from src.reporting.figures import save
from src.reporting.probe_floor import ProbeFloor

NAMED = 12  # classes in the Markdown table


@dataclass(frozen=True)
class Outcomes:
    """Everything is joined by `label`, a run's values in words.

    cells: label and one column an axis. members: label, run, seed, fold and the scores of each trained fold.
    curves: their epochs as log.csv holds them. per_class: class, rows, and each run's share of them that it recognised;
    None where the outputs are no classes.
    gains: label, gain, low, high against the best run; None where the runs held out different images. pick: what such a
    best run scores on rows that did not pick it, and its 95 % interval; None as gains.
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

    @property
    def scores(self) -> list[str]:
        """The columns of `members` that are compared; what no run has (train_scores may be off) is left out."""
        tail = ["balanced_accuracy", "macro_f1", "rarest", "as_trained"]
        wanted = [self.metric, "accuracy", *tail, "held_out_loss", f"train_{self.metric}", "train_loss", "seconds"]
        return [name for name in dict.fromkeys(wanted) if name in self.members and self.members[name].notna().any()]


def write_comparison(
    folder: Path,
    title: str,
    command: str,
    outcomes: Outcomes,
    absent: dict[str, dict[str, str]],
    remarks: tuple[str, ...] = (),
) -> str:
    """Write comparison.md, the CSV tables and the figures into `folder`; return the table as lines for a terminal.

    absent: {what became of them: {label: reason}} of the runs that are not among the outcomes. remarks: what else must
    be known to read the table.
    """
    summary = summarised(outcomes)
    tables = {"summary": summary, "members": outcomes.members, "curves": outcomes.curves}
    if outcomes.per_class is not None:
        tables["per_class"] = outcomes.per_class
    floor = outcomes.floor
    if floor:
        line = {"run": floor.run, outcomes.metric: floor.score, "low": floor.low, "high": floor.high}
        tables["floor"] = pd.DataFrame([line])
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", csv_for_people(table))
    level = floor.score if floor else None
    save(draw_curves(outcomes.curves, outcomes.cells, outcomes.axes, outcomes.metric, level), folder / "curves.png")
    if outcomes.per_class is not None:
        save(draw_classes(outcomes.per_class), folder / "per_class.png")
    rows = _format(summary, outcomes)
    if floor:
        remarks = (f"The floor on the same images, a head on frozen features: {floor}.", *remarks)
    write_text(folder / "comparison.md", _markdown(title, command, outcomes, rows, absent, remarks))
    return "\n".join([rows.to_string(index=False), *filter(None, [_format_pick(outcomes)]), *remarks])


def summarised(outcomes: Outcomes) -> pd.DataFrame:
    """One row a run: its axes, how many folds and seeds, and mean and standard deviation (_sd) of every score."""
    groups = outcomes.members.groupby("label", sort=False)[outcomes.scores]
    # A mean over some of the folds would be compared with one over all of them, so one that lacks makes it none.
    spread = groups.std(ddof=1, skipna=False).add_suffix("_sd")
    columns = [name + end for name in outcomes.scores for end in ("", "_sd")]
    numbers = groups.mean(skipna=False).join(spread)[columns]
    numbers.insert(0, "members", outcomes.members.groupby("label", sort=False).size())
    table = outcomes.cells.merge(numbers.reset_index(), on="label")
    return table if outcomes.gains is None else table.merge(outcomes.gains, on="label", how="left")


def _format(summary: pd.DataFrame, outcomes: Outcomes) -> pd.DataFrame:
    """The summary as a person reads it, every cell a text."""
    table = summary[list(outcomes.axes)].copy()
    for name in outcomes.scores:
        digits = 0 if name == "seconds" else 4
        pairs = zip(summary[name], summary[f"{name}_sd"], strict=True)
        table[name.replace("_", " ")] = [_pair(mean, spread, digits) for mean, spread in pairs]
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


def _markdown(
    title: str,
    command: str,
    outcomes: Outcomes,
    rows: pd.DataFrame,
    absent: dict[str, dict[str, str]],
    remarks: tuple[str, ...],
) -> str:
    members = outcomes.members
    where = f"fold {_listed(members['fold'])}, seed {_listed(members['seed'])}, on {_listed(members['device'])}"
    parts = [f"# {title}", f"    {command}"]
    parts += [
        f"{datetime.date.today()}, commit {commit() or 'unknown'}; {where}.",
        _table(rows),
        *_notes(outcomes),
        *remarks,
    ]
    for fate, runs in absent.items():
        lines = "\n".join(f"- {label}: {_line(reason)}" for label, reason in runs.items())
        parts += [f"{fate}, and therefore absent:", lines] if runs else []
    parts += ["## Epoch by epoch", "![loss and score of training and held-out rows](curves.png)"]
    if outcomes.per_class is not None:
        parts += _class_by_class(outcomes.per_class)
    return "\n\n".join(parts) + "\n"


def _class_by_class(per_class: pd.DataFrame) -> list[str]:
    shown = most_different(per_class, NAMED)
    told = "The share of each class's held-out images that was recognised; the classes that differ most first."
    parts = ["## Class by class", told]
    parts += [_table(shown.map(lambda x: f"{x:.3f}" if isinstance(x, float) else str(x)))]
    more = len(per_class) - len(shown)
    parts += [f"The other {more} classes stand in per_class.csv."] if more else []
    return [*parts, "![recognised share by class and run](per_class.png)"]


def _format_pick(outcomes: Outcomes) -> str:
    """What the best run's score is worth, where it can be told; else nothing."""
    if outcomes.pick is None:
        return ""
    value, low, high = outcomes.pick
    score = outcomes.members.loc[outcomes.members["label"] == outcomes.best, outcomes.metric].mean()
    return (
        f"{outcomes.best} is the pick of {len(outcomes.cells)} runs by the rows that score it, so that its "
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
    if outcomes.gains is not None:
        notes[0] += (
            " Against the best: the difference on the same held-out images (above 0 is better; several seeds answer "
            "together) with its 95 % interval for the luck of the images; where that holds 0, no difference can be "
            "told."
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
    unseen = outcomes.members["train_loss"].isna()
    if unseen.any():
        runs = _listed(outcomes.members.loc[unseen, "label"])
        notes.append(f"Trained without log.train_scores=true, so without scores of the training rows: {runs}.")
    return notes


def _table(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, dict.fromkeys(values)))


def _line(text: str) -> str:
    return " ".join(text.split())
