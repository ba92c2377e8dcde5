"""The figure beside the table: seconds and memory against images, measured points filled and computed ones open."""

from pathlib import Path

from src.core.files import written_whole
from tests.bench.scale.table import FAR, TITLES, Measured, grown, points


def draw(measured: Measured, file: Path) -> None:
    """Write a PNG: a line for each step that was measured, on logarithmic axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, key, unit in zip(panels, ("cpu", "peak"), ("processor time, s", "most memory held, GB"), strict=True):
        for number, (step, title) in enumerate(TITLES.items()):
            found = points(measured, step, key)
            if not found:
                continue
            colour = f"C{number}"
            panel.loglog(list(found), list(found.values()), "o-", color=colour, label=title, markersize=5)
            last, far = max(found), grown(found, FAR)
            panel.loglog([last, FAR], [found[last], far], "--", color=colour, linewidth=1)
            panel.loglog([FAR], [far], "o", markerfacecolor="white", markeredgecolor=colour, markersize=6)
        panel.set(xlabel="training images (filled: measured, open: computed)", ylabel=unit)
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    with written_whole(file) as part:
        FigureCanvasAgg(figure).print_png(part)
