"""The page of several runs of one competition: scores, curves over each other, the images that flip, what differs."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from src.config.request import Request
from src.core.console import Bar, log, silenced
from src.core.locks import only_one
from src.core.paths import runs_folder
from src.evaluation.bootstrap import bootstrap_interval, format_difference, format_interval, gains, wilson
from src.reporting.compared_runs import Compared, compared_of
from src.reporting.page.blocks import Block, Chart, Gallery, Page, Section, Table, Tile
from src.reporting.page.charts import Curve, curves, intervals
from src.reporting.page.write import write_page
from src.reporting.probe_floor import is_probe, probe_floor
from src.reporting.run_results import run_results
from src.reporting.tiles import in_words, isolated, joined, names_of, pictures

FLIPS, CLASSES = 24, 40


def answer(compared: Compared) -> Section:
    held, tables, best = compared.held, compared.tables, compared.best
    metric, others = held.metric, [run for run in tables if run != best]
    over = gains(
        metric, held.targets, (tables[best], None), [(tables[run], None) for run in others], held.groups, rows=held.rows
    )
    found, lines = dict(zip(others, over, strict=True)), []
    for run, table in tables.items():
        low, high = bootstrap_interval(metric, held.targets, table, held.groups, rows=held.rows)
        line = {
            "name": run,
            "series": "plain",
            "rows": len(held.id),
            "value": metric.score(held.targets, table, rows=held.rows),
        }
        gain = found.get(run)
        text = (np.nan,) * 3 if gain is None else (gain.value, gain.low, gain.high)
        lines.append(
            line | {"low": low, "high": high} | dict(zip(("gain", "gain_low", "gain_high"), text, strict=True))
        )
    floor = probe_floor(compared.first.competition, held, tuple(tables))
    if floor and not any(is_probe(subject.run) for subject in compared.subjects.values()):
        line = {"name": f"probe, run {floor.run}", "series": "plain", "rows": len(held.id), "value": floor.score}
        lines.append(line | {"low": floor.low, "high": floor.high})
    scores = pd.DataFrame(lines)
    alt = f"{metric.name} of {len(tables)} runs with 95 % intervals"
    chart = Chart(
        "scores", f"Score: {metric.name} on the same {len(held.id)} images", alt, intervals(scores, metric.name), scores
    )
    shown = scores[["name", "rows", "value"]].rename(columns={"name": "run", "value": metric.name})
    shown["95 % interval"] = [format_interval(*ends) for ends in zip(scores["low"], scores["high"], strict=True)]
    shown[f"gain over {best}"] = [str(found.get(run, "")) for run in shown["run"]]
    table = Table("", f"The same images; the intervals of the gains over {best} hold all at once", shown)
    reading = "; ".join(format_difference(best, run, gain) for run, gain in found.items())
    return Section(
        "answer",
        "The answer",
        f"{best} scores best, {metric.name} {metric.score(held.targets, tables[best], rows=held.rows):.4f}; {reading}.",
        (chart, table),
    )


def learning(compared: Compared) -> Section:
    logs = {run: results.log for run, results in compared.subjects.items() if not results.log.empty}
    if not logs:
        return Section("learning", "Learning", "None of these runs brings logs: they were trained elsewhere.", ())
    text = "; ".join(f"{run}: {_cost(log)}" for run, log in logs.items())
    shared = set.intersection(*({*log["fold"]} for log in logs.values()))
    if not shared:
        return Section("learning", "Learning", f"{text}. They share no fold, so their curves cannot be compared.", ())
    whose = f"mean of fold {', '.join(map(str, sorted(shared, key=str)))}"
    logs = {run: log[log["fold"].isin(shared)] for run, log in logs.items()}
    blocks: list[Block] = []
    for column, title, unit, log_scale in (
        ("loss", "Training loss", "loss (log scale)", True),
        ("held_out_loss", "Held-out loss", "loss (log scale)", True),
        ("score", f"Held-out {compared.held.metric.name}", compared.held.metric.name, False),
        ("lr", "Learning rate", "learning rate", False),
    ):
        means = {run: log.groupby("epoch")[column].mean() for run, log in logs.items() if column in log}
        if means:
            lines = [Curve(mean.index, mean.to_numpy(), run, k) for k, (run, mean) in enumerate(means.items())]
            numbers = pd.concat([mean.reset_index().assign(run=run) for run, mean in means.items()], ignore_index=True)
            ends = ", ".join(f"{run} {mean.iloc[0]:.4g} to {mean.iloc[-1]:.4g}" for run, mean in means.items())
            alt = f"{title} by epoch, from the first to the last: {ends}"
            draw = curves(lines, "epoch", unit, log_scale)
            blocks.append(Chart(column, f"{title}, {whose}", alt, draw, numbers))
    return Section("learning", "Learning", f"{text}. The curves are of the folds that all of them have.", tuple(blocks))


def _cost(log: pd.DataFrame) -> str:
    count = len(log[["seed", "fold"]].drop_duplicates())
    return (
        f"{count} network{'s' * (count > 1)} of {log['epoch'].max()} epochs in {log['seconds'].sum() / 60:.1f} minutes"
    )


def flips(compared: Compared) -> pd.DataFrame:
    """row (of the held ones), id, truth and each run's answer of the images that some runs recognise and others not.

    First those of which the runs differ most in the probability of the truth.
    """
    right, held, results = compared.right, compared.held, compared.first
    rows = np.flatnonzero(right.any(axis=1) & ~right.all(axis=1))
    truth = held.target.indicators(held.targets, len(results.classes))
    of_truth = np.stack([np.where(truth, p, np.nan) for p in compared.tables.values()])[:, rows]
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(
            np.nanmax(of_truth.max(axis=0) - of_truth.min(axis=0), axis=1, initial=0, where=truth[rows])
        )
    table = pd.DataFrame({"row": rows, "id": held.id[rows], "apart": apart.round(4)})
    table["truth"] = [joined(names_of(results, row)) for row in results.competition.samples.positions(held.id[rows])]
    for run, answers in compared.answers.items():
        table[run] = [joined(names) for names in held.target.cells(answers[rows], results.classes)]
    return table.sort_values("apart", ascending=False, kind="stable", ignore_index=True)


def flipped(compared: Compared) -> Section:
    table, right, title = flips(compared), compared.right, "Which images flip"
    if not len(table):
        return Section("flips", title, "The runs recognise exactly the same images.", ())
    results, first = compared.first, table.head(FLIPS)
    rows = results.competition.samples.positions(first["id"].to_numpy())
    tiles = tuple(
        Tile(
            (image,),
            (f"id {line['id']}, {in_words(names_of(results, row))} by the table",),
            (
                f"truth {in_words(names_of(results, row))}",
                *(f"{'✓' if right[run][line['row']] else '✗'} {run}: {isolated(line[run])}" for run in compared.tables),
                f"id {line['id']}",
            ),
            names_of(results, row),
        )
        for (_, line), row, image in zip(first.iterrows(), rows, pictures(results, rows), strict=True)
    )
    only = {run: int((right[run] & ~right.drop(columns=run).any(axis=1)).sum()) for run in right}
    alone = ", ".join(f"{run} alone {count}" for run, count in only.items())
    reading = (
        f"{len(table)} of {len(right)} images are recognised by some of these runs and not by others ({alone}); "
        f"{int(right.all(axis=1).sum())} by all, {int((~right.any(axis=1)).sum())} by none."
    )
    more = f", the first {FLIPS} of {len(table)}" if len(table) > FLIPS else ""
    gallery = Gallery("flips", f"The images on which the runs differ most{more}", tiles, table.drop(columns="row"))
    return Section("flips", title, reading, (gallery,))


def classes(compared: Compared) -> Section:
    held, names = compared.held, compared.first.classes
    found = {run: held.target.recognised(held.targets, a, len(names)) for run, a in compared.answers.items()}
    rows = next(iter(found.values()))[0]
    table = pd.DataFrame({"class": names, "rows": rows})
    for run, (_, right) in found.items():
        with np.errstate(invalid="ignore"):
            table[run] = right / rows
    shares = table[list(compared.tables)]
    apart = shares.max(axis=1) - shares.min(axis=1)
    table = table.assign(apart=apart).sort_values("apart", ascending=False, kind="stable", ignore_index=True)
    title = "Share of each class's images that is recognised, the classes that differ most first"
    blocks = (Table("classes", title, table.head(CLASSES)),)
    return Section("classes", "Class by class", _most_different(table, list(compared.tables)), blocks)


def _most_different(table: pd.DataFrame, runs: list[str]) -> str:
    """The class that differs most, of those in which the intervals of two runs lie apart."""
    shares = table[runs].to_numpy(dtype=float)
    low, high = wilson(shares, np.repeat(table[["rows"]].to_numpy(), len(runs), axis=1))
    text = table[np.nanmax(np.nan_to_num(low), axis=1) > np.nanmin(np.nan_to_num(high, nan=1), axis=1)]
    if not len(text):
        return "In no class do the runs differ by more than the luck of its images could: their 95 % intervals overlap."
    most = text.iloc[0]
    each = ", ".join(f"{run} {most[run]:.3f}" for run in runs)
    where = f"In {len(text)} class{'es' * (len(text) > 1)} the runs' 95 % intervals lie apart"
    return f"{where}, most in {isolated(most['class'])}: {each} of its {most['rows']} images."


def differences(compared: Compared) -> Section:
    flat = {
        run: pd.json_normalize(s.competition.config.identity()).iloc[0].map(str) for run, s in compared.subjects.items()
    }
    table = pd.DataFrame(flat).fillna("not given")
    table = table[table.nunique(axis=1) > 1].rename_axis("key").reset_index()
    reading = f"{len(table)} keys of the configuration differ." if len(table) else "The configurations are the same."
    return Section(
        "differences",
        "What is different",
        reading,
        (Table("differences", "Keys that differ", table),) if len(table) else (),
    )


SECTIONS = {
    "answer": answer,
    "learning": learning,
    "flipped": flipped,
    "classes": classes,
    "differences": differences,
}


def compare(request: Request) -> Path:
    """Write the page of request.runs and return its path. Raises Problem where they stand on different folds."""
    each = zip(request.runs, request.configs, strict=True)
    alone = [replace(request, run=name, config=config, runs=(), configs=()) for name, config in each]
    folder = runs_folder(request.competition) / "comparisons" / request.run
    title = " against ".join(request.runs) if len(request.runs) == 2 else f"{len(request.runs)} runs side by side"
    text = (
        f"Competition {request.competition}; page made on {datetime.date.today().isoformat()} by python -m src.report"
    )
    subjects, made = {}, []
    with Bar(len(alone) + len(SECTIONS) + 1, "report", "step") as bar, silenced():
        for one in alone:
            bar.describe(f"report: run {one.run}")
            subjects[one.run] = run_results(one)
            bar.update()
        compared = compared_of(subjects)
        for name in compared.held.target.comparison:
            bar.describe(f"report: {name}")
            made.append(SECTIONS[name](compared))
            bar.update()
        bar.describe("report: figures")
        with only_one(folder, f"the comparison {request.run}"):
            file = write_page(Page(title, text, tuple(made)), folder)
        bar.update()
    log.info(f"{file}: {file.stat().st_size / 1e6:.1f} MB, open it in a browser")
    return file
