"""A text file for each image, whose content is the label."""

from pathlib import Path
from typing import ClassVar

import pandas as pd

from src.competition import templates
from src.competition.label_sources import LABEL_SOURCES
from src.competition.label_sources.label_source import LabelSource
from src.core.errors import Problem


@LABEL_SOURCES.register("text_file")
class TextFile(LabelSource):
    """path: a template of its path below data/, such as notes/{image_id}.txt."""

    parameters: ClassVar = {"path": str}

    def columns(self) -> list[str]:
        return templates.fields(self.path)

    def cells(self, table: pd.DataFrame, data: Path) -> list[str]:
        return [_text(data, path) for path in templates.fill(self.path, table)]


def _text(data: Path, path: str) -> str:
    file = (data / path).resolve()
    if not file.is_relative_to(data.resolve()):
        raise Problem(
            f"the card's label names {path!r}, a file outside data/: correct the table or the card",
            code="path-outside-data",
        )
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            f"{file}, the label of an image, cannot be read ({error}): bring it back, or mend the card",
            code="missing-label",
        ) from None
