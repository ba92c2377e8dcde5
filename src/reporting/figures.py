"""How figures look, and how they become files. Nothing here opens a window."""

from pathlib import Path

from matplotlib.figure import Figure

from src.core.files import written_whole

# Okabe and Ito's colours, which colour-blind people can tell apart too; without the yellow, which white swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
SHARES = "cividis"  # the colours of shares from 0 to 1: an even ramp, also in grey


DPI = 140  # of the files


def laid_out(figure: Figure) -> Figure:
    """The figure with everything in its place. That takes half the time, and savefig would do it for each file."""
    figure.set_dpi(DPI)
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with written_whole(path) as part:
        # Photographs hardly get smaller by more pressing, and it takes longer than to draw them.
        laid_out(figure).savefig(part, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
