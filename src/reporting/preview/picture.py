"""The preview as one picture: guesses, images under their labels, test rows, and the files, all counted."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from src.core.wording import plural
from src.reporting.fonts import families, legible
from src.reporting.preview.contents import SIDE, Contents, Tile

WIDTH = 1120  # pixels; the height grows with what is shown
CLASSES, EACH, TESTS = 24, 8, 16
MARGIN, LABEL, LINE, GAP = 24, 220, 19, 8
CELL = SIDE + GAP
INK, QUIET, MARK, EDGE = "#1f2328", "#59636e", "#fff4d6", "#b87f00"


class Sheet:
    """A white sheet that is filled from the top: text is noted, images are put down."""

    def __init__(self) -> None:
        self.y = MARGIN
        self.texts: list[tuple[float, float, str, dict]] = []
        self.boxes: list[tuple[float, float, float, float]] = []
        self.images: list[tuple[int, int, np.ndarray]] = []

    def text(self, line: str, x: int = MARGIN, size: float = 9, height: int = LINE, **style: object) -> None:
        """One line, below all that is there."""
        self.texts.append((x, self.y, line, {"size": size, **style}))
        self.y += height

    def note(self, x: float, y: float, line: str, **style: object) -> None:
        self.texts.append((x, y, line, style))

    def tile(self, one: Tile, x: int, y: int) -> None:
        """An image in its cell; a cross where it cannot be read."""
        if one.image is None:
            self.note(x + SIDE / 3, y + SIDE / 2, "cannot be read", size=6, color="#b3261e")
        else:
            self.images.append((x, y, _enlarged(one.image)))


def picture_of(contents: Contents) -> bytes:
    """The PNG file."""
    sheet = Sheet()
    sheet.text(f"{contents.title}: what was understood", size=14, height=30, weight="bold")
    sheet.text(contents.summary, height=26)
    _guesses(contents, sheet)
    _classes(contents, sheet)
    _tests(contents, sheet)
    _files(contents, sheet)
    return _png(sheet)


def _guesses(contents: Contents, sheet: Sheet) -> None:
    top = sheet.y
    sheet.y += 6
    guesses = contents.guesses
    heading = f"{len(guesses)} guess{'es' * (len(guesses) > 1)} to confirm" if guesses else "Nothing is a guess"
    sheet.text(heading, MARGIN + 10, weight="bold", size=10)
    for fact in guesses:
        told = [fact.how, f"explains {fact.explained}" if fact.explained else "", *(f"or {one}" for one in fact.rivals)]
        sheet.text(f"{fact.key}: {fact.value}   ({'; '.join(filter(None, told))})", MARGIN + 10)
    for line in contents.doubts[:8]:
        sheet.text(f"· {line}", MARGIN + 10, color=QUIET)
    if guesses:
        sheet.boxes.append((MARGIN, top, WIDTH - 2 * MARGIN, sheet.y - top))
    sheet.y += 14


def _classes(contents: Contents, sheet: Sheet) -> None:
    count = len(contents.classes) + len(contents.others)
    sheet.text(
        f"{plural(count, *contents.parts)}, with images under the label that was read",
        weight="bold",
        size=10,
        height=26,
    )
    for one in contents.classes[:CLASSES]:
        sheet.note(MARGIN, sheet.y + 12, one.name, size=10, weight="bold", longest=26)
        sheet.note(MARGIN, sheet.y + 32, plural(one.count, "row"), color=QUIET)
        for place, tile in enumerate(one.tiles[:EACH]):
            sheet.tile(tile, MARGIN + LABEL + place * CELL, sheet.y)
        sheet.y += CELL
    if count > CLASSES:
        more = count - min(CLASSES, len(contents.classes))
        sheet.text(f"and {more} more {contents.parts[1]}: see preview.html", color=QUIET)
    sheet.y += 10


def _tests(contents: Contents, sheet: Sheet) -> None:
    if not contents.tests:
        return
    across = (WIDTH - 2 * MARGIN) // (CELL + 20)
    sheet.text(f"The first of {plural(contents.test_count, 'test row')}", weight="bold", size=10, height=26)
    for place, one in enumerate(contents.tests[:TESTS]):
        down, right = divmod(place, across)
        x, y = MARGIN + right * (CELL + 20), sheet.y + down * (CELL + 36)
        sheet.tile(one, x, y)
        sheet.note(x, y + SIDE + 4, one.id, size=7, longest=18)
        sheet.note(x, y + SIDE + 18, one.file.rpartition("/")[2], size=6.5, longest=20, color=QUIET)
    sheet.y += -(-min(TESTS, len(contents.tests)) // across) * (CELL + 36) + 10


def _files(contents: Contents, sheet: Sheet) -> None:
    sheet.text(f"All {plural(contents.files, 'file')} of the tree", weight="bold", size=10, height=24)
    for one in contents.shares:
        message = f"{one.name}: {one.where}" + (f" ({one.why})" if one.why else "")
        sheet.note(MARGIN + 60, sheet.y, f"{len(one)}", ha="right")
        sheet.text(message, MARGIN + 72, color=INK if one.used or one.quiet else "#b3261e")


def _png(sheet: Sheet) -> bytes:
    """Draw the sheet: one image for all pictures, so that a hundred cost no more than one."""
    height = int(sheet.y + MARGIN)
    pixels = np.full((height, WIDTH, 3), 255, np.uint8)
    for x, y, image in sheet.images:
        part = image[: height - y, : WIDTH - x]
        pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100)
    place = figure.add_axes((0, 0, 1, 1))
    place.set_axis_off()
    figure.figimage(pixels, zorder=-1)  # pixel by pixel, below all else
    for x, y, wide, high in sheet.boxes:
        # Behind the texts, and nowhere over an image.
        place.fill_between((x, x + wide), y, y + high, facecolor=MARK, edgecolor=EDGE, linewidth=1)
    fonts = families([line for _, _, line, _ in sheet.texts])
    for x, y, line, style in sheet.texts:
        longest = style.pop("longest", 150)
        place.text(
            x, y, legible(line, fonts, longest), **({"color": INK, "size": 9} | style), va="top", parse_math=False
        ).set_fontfamily(fonts)
    place.set_xlim(0, WIDTH)
    place.set_ylim(height, 0)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # 256 colours are a third of the bytes, and enough to see what is shown.
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3]).quantize(256, Image.Quantize.FASTOCTREE)
    out = io.BytesIO()
    drawn.save(out, "PNG", optimize=True)
    return out.getvalue()


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Small images larger, each pixel a square."""
    by = max(1, SIDE // max(image.shape[:2]))
    return image.repeat(by, axis=0).repeat(by, axis=1)
