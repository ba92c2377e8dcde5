"""The same page as Markdown, for a terminal, a repository or a wiki; its pictures are the files beside it."""

import pandas as pd

from src.reporting.page.blocks import Block, Code, Page, Picture, Table, Text


def markdown_of(page: Page) -> str:
    """Of pages of tables, text, code and pictures; other blocks have no form here, and raise TypeError."""
    parts = [f"# {page.title}", page.subtitle]
    for section in page.sections:
        parts += [f"## {section.title}", section.reading]
        for block in section.blocks:
            parts += _parts(block)
    return "\n\n".join(filter(None, parts)) + "\n"


def _parts(block: Block) -> list[str]:
    if isinstance(block, Table):
        return [block.title, _table(block.numbers)]
    if isinstance(block, Picture):
        return [f"![{block.alt}]({block.name}.png)"]
    if isinstance(block, Code):
        return [block.title, "\n".join(f"    {line}" for line in block.text.splitlines())]
    if isinstance(block, Text):
        return [block.text]
    raise TypeError(f"a {block.kind} has no form in Markdown")


def _table(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
