"""The preview as preview.html, which needs nothing else, and as preview.png, for where no browser is."""

import functools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from src.competition.create import Prepared
from src.core.files import write_text, written_whole
from src.reporting.page.pictures import data_uri
from src.reporting.preview.contents import NAMES, contents_of
from src.reporting.preview.picture import picture_of

HERE = Path(__file__).parent
SHOWN = 72  # pixels across of the smallest images, which are shown larger than they are


def write_preview(done: Prepared) -> Path:
    """Write preview.html and preview.png beside the competition's data, and return the page's path."""
    contents = contents_of(done)
    page = done.card.folder / "preview.html"
    write_text(page, _html(vars(contents) | {"guesses": contents.guesses}))
    with written_whole(page.with_suffix(".png")) as part:
        part.write_bytes(picture_of(contents))
    return page


def _html(values: dict[str, Any]) -> str:
    style = (HERE.parent / "page" / "page.css").read_text("utf-8") + (HERE / "preview.css").read_text("utf-8")
    return _template().render(style=Markup(style), most=NAMES, **values)


@functools.cache
def _template() -> jinja2.Template:
    """Names of classes and files are text, and never become a tag."""
    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_plain
    )
    room.filters |= {"uri": data_uri, "width": _width, "height": lambda image: _scaled(image)[1]}
    return room.get_template("preview.html")


def _plain(value: Any) -> Any:
    """A name that is no UTF-8 on the disk can not be written as such."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def _width(image: Any) -> int:
    return _scaled(image)[0]


def _scaled(image: Any) -> tuple[int, int]:
    """Width and height in the page."""
    height, width = image.shape[:2]
    by = max(1, round(SHOWN / max(height, width)))
    return width * by, height * by
