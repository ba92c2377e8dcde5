"""Hundreds of hosts' folders are prepared here, and drawing the preview.png of each takes longer than all the rest."""

import pytest

# Of tests/competition/test_host_layouts.py; tests/reporting/test_preview.py looks at what is drawn.
DRAWN = ("cactus", "grades", "sets", "drivers", "pixels", "food", "dirty")


@pytest.fixture(autouse=True)
def _preview_without_its_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """preview.html is written as ever."""
    drawn = request.path.name == "test_host_layouts.py" and hasattr(request.node, "callspec")
    if not drawn or request.node.callspec.params.get("name") not in DRAWN:
        monkeypatch.setattr("src.reporting.preview.write.picture_of", lambda _: b"")
