"""Where does it fail: which classes, which pairs of them, and which images?"""

import numpy as np
import pandas as pd

from src.reporting.confusions import confusion_of, frequent_confusions, order_alike, pairs_of
from src.reporting.heatmaps import heat_of
from src.reporting.label_issues import label_issues, one_line_an_image
from src.reporting.page.blocks import Block, Gallery, Section, Text, Tile
from src.reporting.page.pictures import overlaid
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.sections.classes import bars_of, by_class, matrix_of
from src.reporting.tiles import in_words, isolated, joined, names_of, pictures

TITLE = "Where it fails"
PAIRS, SURE, DOUBTED = 8, 6, 12


@SECTIONS.register("mistakes")
def mistakes(results: RunResults) -> Section:
    if results.held is None:
        return Section("mistakes", TITLE, "No image was held out, so no mistake is known.", ())
    table = by_class(results)
    blocks: list[Block] = [bars_of(table)]
    if results.held.target.one_class:
        counts = confusion_of(results)
        order = order_alike(counts, results.held.target)
        blocks.insert(0, matrix_of(results, counts, order))
        blocks += _confused(results, counts)
    else:
        blocks.append(
            Text("Where several classes may apply to an image none is taken for another: no confusion matrix.")
        )
    blocks += [*_surest(results), *_doubted(results)]
    return Section("mistakes", TITLE, _reading(results, table), tuple(blocks))


def _confused(results: RunResults, counts: np.ndarray) -> list[Block]:
    """The worst confusions: an image that was mistaken, beside one of the class that it was taken for."""
    pairs, held = pairs_of(counts)[:PAIRS], results.held
    if not pairs:
        return []
    chosen, sure = [], results.plain[np.arange(len(held.id)), results.answers]
    for truth, answer, _ in pairs:
        wrong = np.flatnonzero((held.targets == truth) & (results.answers == answer))
        other = np.flatnonzero(held.targets == answer)
        right = other[results.answers[other] == answer]
        other = right if len(right) else other
        chosen.append([wrong[sure[wrong].argmax()], *(other[sure[other].argsort()[-1:]])])
    seen = iter(pictures(results, results.rows[np.concatenate(chosen).astype(int)]))
    names, tiles = [isolated(name) for name in results.classes], []
    for (truth, answer, times), rows in zip(pairs, chosen, strict=True):
        alts = (f"a {names[truth]} taken for {names[answer]}, id {held.id[rows[0]]}",)
        alts += tuple(f"a {names[answer]}, id {held.id[row]}" for row in rows[1:])
        lines = f"{names[truth]} taken for", f"{names[answer]}: {frequent_confusions(times)}"
        found = results.classes[truth], results.classes[answer]
        tiles.append(Tile(tuple(next(seen) for _ in rows), alts, lines, found))
    names = results.classes
    numbers = pd.DataFrame(
        [
            (names[t], names[a], n, *(held.id[row] for row in rows))
            for (t, a, n), rows in zip(pairs, chosen, strict=True)
        ]
    ).rename(columns=dict(enumerate(("truth", "answer", "images", "mistaken_id", "answer_id"))))
    title = "The worst confusions: the surest mistake, and an image of the class that it was taken for"
    return [Gallery("confusions", title, tuple(tiles), numbers)]


def surest_mistakes(results: RunResults) -> pd.DataFrame:
    """row (of the held ones), id, truth, answer, sure (the probability of the answer), the surest first.

    Where several classes may apply a mistake is one class of an image: `answer` begins with "not" where it was missed.
    """
    held = results.held
    found = held.target.mistakes(held.targets, results.plain, results.answers, results.classes)
    table = pd.DataFrame({"row": found.row, "label": found.output, "sure": found.sure, "answer": found.answer})
    table["id"] = held.id[table["row"]]
    table["truth"] = [joined(names_of(results, row)) for row in results.rows[table["row"]]]
    return table.sort_values("sure", ascending=False, kind="stable", ignore_index=True)


def _surest(results: RunResults) -> list[Block]:
    found = surest_mistakes(results)
    if not len(found):
        return [Text("No held-out image was answered wrongly.")]
    first = found.head(SURE)
    heats, why_not = heat_of(results, first["row"].to_numpy(), first["label"].to_numpy())
    seen, tiles = pictures(results, results.rows[first["row"]]), []
    for line, image, heat in zip(first.itertuples(), seen, heats, strict=True):
        names, label = names_of(results, results.rows[line.row]), results.classes[line.label]
        truth, name = in_words(names), isolated(label)
        answer = name if line.answer == label else f"not {name}"
        images, alts = (image,), (f"id {line.id}, {truth} by the table, answered {answer}",)
        lines = (f"answered {answer} ({line.sure:.2f})", f"by the table {truth}", f"id {line.id}")
        if heat is not None:
            what = name if line.answer == label else f"what speaks for {name}"
            images, alts = (image, overlaid(image, heat)), (*alts, f"where the network found {what} in it")
            lines += () if heat.any() else (f"no place in it speaks for {name}",)
        tiles.append(Tile(images, alts, lines, (*names, label)))
    title = "The most confident mistakes" + ("" if why_not else ", and where in them the class was found (Grad-CAM)")
    numbers = found[["id", "truth", "answer", "sure"]]
    note = [Text(f"Where in the image the answer was found is not shown: {why_not}.")] if why_not else []
    return [Gallery("mistakes", title, tuple(tiles), numbers), *note]


def _doubted(results: RunResults) -> list[Block]:
    """The labels that look wrong, as `python -m src.review` finds them."""
    held = results.held
    if not held.target.doubts_labels:
        return [Text(f"Labels are not doubted here: {held.target.no_doubts}.")]
    if not held.target.questions(held.targets, results.plain, results.classes):
        return [Text("Labels are not doubted here: the held-out images are all of one class.")]
    table = one_line_an_image(label_issues(held.id, held.targets, results.plain, results.classes, held.target))
    if not len(table):
        return [Text(f"No label of the {len(held.id)} held-out images looks wrong.")]
    first = table.head(DOUBTED)
    rows = results.competition.samples.positions(first["id"].to_numpy())
    tiles = tuple(
        Tile(
            (image,),
            (f"id {line.id}, {in_words(names_of(results, row))} by the table",),
            (
                f"by the table {in_words(names_of(results, row))}",
                f"perhaps {isolated(line.suggested)} ({line.suggested_probability:.2f})",
                f"id {line.id}",
            ),
            names_of(results, row),
        )
        for line, row, image in zip(first.itertuples(), rows, pictures(results, rows), strict=True)
    )
    title = f"{len(table)} images whose label looks wrong, the most doubtful first"
    return [Gallery("label_issues", title, tiles, table.round(4))]


def _reading(results: RunResults, table: pd.DataFrame) -> str:
    held, known = results.held, table[table["rows"] > 0]
    easy, mean = int((known["value"] == 1).sum()), known["right"].sum() / known["rows"].sum()
    hard = known[known["high"] < mean]
    wrong = int((~held.target.right(held.targets, results.answers)).sum())
    reading = f"{wrong} of {len(held.id)} held-out images are answered wrongly ({wrong / len(held.id):.1%})."
    if not wrong:
        return reading
    reading += f" {easy} of {len(known)} classes are recognised without a mistake; "
    if len(hard):
        reading += f"{len(hard)} lie below the mean with their whole interval, "
        reading += f"{isolated(hard['class'].iloc[0])} lowest: {hard['right'].iloc[0]} of {hard['rows'].iloc[0]}."
    else:
        reading += "of none does the whole interval lie below the mean."
    pairs = pairs_of(confusion_of(results)) if held.target.one_class else []
    if pairs and pairs[0][2] > 1:
        truth, answer, times = pairs[0]
        names = f"{isolated(results.classes[truth])} taken for {isolated(results.classes[answer])}"
        reading += f" The most frequent confusion: {names}, {frequent_confusions(times)}."
    return reading
