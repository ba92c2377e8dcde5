"""The columns beside the pictures at prediction: whether trees over them and the networks' answers are better."""

from collections.abc import Callable
from typing import Any

import numpy as np

from src.competition.competition import Competition
from src.core.console import log, note
from src.core.errors import Problem
from src.evaluation.boosted_columns import Beside, ColumnsChoice, choose_columns
from src.evaluation.held_out import HeldOut
from src.inference.brought_features import brought_features
from src.inference.network_features import NetworkFeatures
from src.inference.tta import PLAIN
from src.models.factory import build
from src.models.features import without_head
from src.targets.boosting import Columns

Join = Callable[[dict[str, np.ndarray]], np.ndarray]  # {run: (rows, outputs)} -> (rows, outputs)


def chosen_columns(competition: Competition, held: HeldOut, answers: np.ndarray) -> ColumnsChoice | None:
    """Whether the columns help the answers to the held-out rows, (rows, outputs); None where none are asked of, or too
    few rows tell."""
    metadata = competition.samples.metadata
    if not metadata or competition.config.predict.metadata == "none":
        return None
    rows = competition.samples.positions(held.id)
    try:
        beside = _beside(competition).at(rows)
        choice = choose_columns(held, answers, beside, tuple(column.name for column in metadata.columns))
    except Problem as problem:  # the pictures answer alone
        note("metadata-not-judged", f"the columns beside the pictures are not used: {problem}")
        return None
    log.info("\n".join(choice.lines))
    return choice


def beside_test(competition: Competition, choice: ColumnsChoice | None, join: Join) -> Join:
    """How the runs' answers to the test rows are joined, the columns of these rows included where they are taken."""
    if choice is None or not choice.taken:
        return join
    count = len(competition.samples.train)
    beside = _beside(competition).at(count + np.arange(len(competition.samples.test)))
    return lambda tables: choice.apply(join(tables), beside)


def _beside(competition: Competition) -> Beside:
    """Of the training rows, then the test rows."""
    metadata, samples = competition.samples.metadata, competition.samples
    cells = np.concatenate([metadata.of(samples.train), metadata.of(samples.test)])
    return Beside(Columns(cells, metadata.is_category), _features(competition))


def _features(competition: Competition) -> np.ndarray | None:
    """(rows, width) what the frozen network of a probe sees in every image; None of a run that has none kept."""
    config = competition.config
    if config.probe.off:
        return None
    brought = brought_features(competition)
    if brought is not None:
        return brought.read(PLAIN[0])
    network = build(config.model, len(competition.samples.classes), config.images.size, competition.target)
    without_head(network)
    features = NetworkFeatures(competition, network.eval(), config.model.name, "cpu")
    return None if features.missing(PLAIN) else features.read(PLAIN[0])


def to_json(competition: Competition, choice: ColumnsChoice) -> dict[str, Any]:
    """What a submission's note tells of them."""
    metadata = competition.samples.metadata
    ways = {
        one.name: {"score": one.score, "low": one.interval[0], "high": one.interval[1]}
        for one in choice.comparison.candidates
    }
    gain, own = choice.trees.gain, choice.own
    return {
        "columns": [column.name for column in metadata.columns],
        "digest": metadata.digest,
        "taken": choice.comparison.taken,
        "ways": ways,
        "gain": {"value": gain.value, "low": gain.low, "high": gain.high, "real": gain.real},
        "gain_of_columns": {"value": own.value, "low": own.low, "high": own.high, "real": own.real},
        "importance": choice.importance,
    }
