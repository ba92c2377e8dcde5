"""Where a label stands that no column of the table holds: `label: {name: text_file, path: "notes/{image_id}.txt"}`.

A new one: a file with a class under `@LABEL_SOURCES.register("name")`, here or in PODIUM_HOME/extensions. See
LabelSource.
"""

from typing import Any

from src.competition.label_sources.label_source import LabelSource
from src.core.registry import Registry, parsed

__all__ = ["LABEL_SOURCES", "LabelSource", "label_source"]

LABEL_SOURCES: Registry[type[LabelSource]] = Registry("label source", "src.competition.label_sources")


def label_source(spec: dict[str, Any]) -> LabelSource:
    """What a card's `label` asks for. Raises UsageError where there is no such source, or it has no such parameter."""
    name, parameters = parsed(spec, "label")
    return LABEL_SOURCES.get(name)(**parameters)
