"""What do the columns beside the pictures bring, and which of them?"""

from typing import Any

import pandas as pd

from src.evaluation.boosted_columns import ALONE, BOOSTED
from src.evaluation.bootstrap import format_interval
from src.reporting.page.blocks import Block, Chart, Section, Table
from src.reporting.page.charts import intervals
from src.reporting.run_results import RunResults
from src.reporting.sections import SECTIONS
from src.reporting.tiles import isolated

TITLE = "Columns beside the pictures"


@SECTIONS.register("metadata")
def metadata(results: RunResults) -> Section:
    found = results.competition.samples.metadata
    judged = next((facts["metadata"] for facts in reversed(results.predictions) if facts.get("metadata")), None)
    blocks: list[Block] = []
    if judged:
        blocks += [_scores(results, judged), _importance(results, judged)]
    doubts = {doubt.name: doubt.text for doubt in found.doubts}
    used = [(isolated(column.name), column.told, doubts.get(column.name, "")) for column in found.columns]
    left = [(isolated(name), "left out", why) for name, why in found.left_out.items()]
    numbers = pd.DataFrame([*used, *left], columns=["column", "holds", "remark"])
    blocks.append(Table("metadata_columns", "What training and test table both tell of an image", numbers))
    return Section("metadata", TITLE, _reading(results, judged), tuple(blocks))


def _scores(results: RunResults, judged: dict[str, Any]) -> Chart:
    """The pictures alone, and with the columns."""
    metric = results.competition.metric.name
    lines = [(name, name, way["score"], way["low"], way["high"]) for name, way in judged["ways"].items()]
    numbers = pd.DataFrame(lines, columns=["name", "series", "value", "low", "high"])
    alt = f"out-of-fold {metric} of the pictures alone and with the columns, with 95 % intervals"
    return Chart("metadata_scores", f"{metric} without and with the columns", alt, intervals(numbers, metric), numbers)


def _importance(results: RunResults, judged: dict[str, Any]) -> Table:
    metric = results.competition.metric.name
    lines = [(isolated(name), value) for name, value in judged["importance"].items()]
    numbers = pd.DataFrame(lines, columns=["column", f"loss of {metric}"])
    return Table("metadata_importance", "What the trees lose where the column's cells are shuffled", numbers)


def _reading(results: RunResults, judged: dict[str, Any] | None) -> str:
    if judged is None:
        return "Nothing was judged yet: python -m src.predict fits boosted trees over them, and tells what they bring."
    alone, trees, gain = judged["ways"][ALONE], judged["ways"][BOOSTED], judged["gain"]
    text = f"{results.competition.metric.name} {alone['score']:.4f} by the pictures alone, {trees['score']:.4f} by "
    text += f"boosted trees over the networks' answers and the columns: a gain of {gain['value']:+.4f} "
    text += f"(95 % interval {format_interval(gain['low'], gain['high'])}). "
    if judged["taken"] == BOOSTED:
        return text + "The trees answered the test rows."
    why = "Trees that see no columns gain as much" if gain["real"] else "The gain may be luck"
    return f"{text}{why}, so that the pictures alone answered the test rows."
