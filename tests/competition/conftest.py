"""Hundreds of hosts' folders are prepared here, and drawing the preview.png of each takes longer than all the rest."""

import pytest

DRAWN = ("test_host_layouts.py",)  # every layout once; tests/reporting/test_preview.py looks at what is drawn


@pytest.fixture(autouse=True)
def _preview_without_its_picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """preview.html is written as ever."""
    if request.path.name not in DRAWN:
        monkeypatch.setattr("src.reporting.preview.write.picture_of", lambda _: b"")
