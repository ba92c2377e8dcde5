"""A trained and exported run that is at Kaggle. A file of tests asks for it with pytest_plugins."""

import shutil
from pathlib import Path

import pytest

from src.predict import main as predict
from src.train import main as train
from tests.kernel_shop import SLUG, said
from tests.tiny import CARD, write_tiny


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """`tiny`, which is at Kaggle, trained, predicted and exported once for all files of tests: not to be changed."""
    home = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        (home / "competition" / "tiny" / "card.yaml").write_text(CARD + f"kaggle: {SLUG}\n")
        said(train, "config=tiny")
        said(predict, "--tta", "--export", "config=tiny")
    return home


@pytest.fixture
def shop(trained, tmp_path, monkeypatch) -> Path:
    """The same in a home of the test's own."""
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    monkeypatch.setenv("PODIUM_HOME", str(home))
    return home
