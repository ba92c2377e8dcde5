"""What every test stands on: a home folder of its own, no network, one thread, and a tiny competition to learn."""

import os
import signal
import sys

os.environ.update(HF_HUB_OFFLINE="1", NO_ALBUMENTATIONS_UPDATE="1", OMP_NUM_THREADS="1")

from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.process import keep_bytecode
from tests.fixtures import figures
from tests.fixtures.notes import Notes
from tests.fixtures.tiny import write_tiny

keep_bytecode()
# A shell's background job ignores Ctrl-C, and so would every process that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Ten seconds of processor time and more each, the longest first: they begin before the others, so that no process is
# left with one of them at the end.
LONG = ("test_push.py", "test_backends.py", "test_budget.py", "test_training.py", "test_run_sh.py", "test_sweep.py")
LONG += ("test_ensembles.py", "test_distillation.py", "test_damaged_files.py", "test_host_layouts.py")
LONG += ("test_columns_beside.py", "test_odd_hosts.py", "test_report.py", "test_main_job.py", "test_distributed.py")
LONG += ("test_wrong_input.py", "test_readers.py", "test_extensions.py", "test_report_page.py", "test_review.py")
LONG += ("test_lr_finder.py", "test_regression.py", "test_resume.py", "test_cache.py", "test_networks.py")
LONG += ("test_export.py", "test_kernel_push.py", "test_kernel_hosted.py", "test_search.py", "test_bags.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def _had_threads() -> None:
    """Whoever forks a child that wants threads hangs where threads were had before: in every test, not by chance."""
    if "torch" not in sys.modules:  # no collected test trains
        return
    import torch

    torch.set_num_threads(2)
    torch.ones(1_000_000).exp()
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Every file that Podium writes waits until the disk has it. No test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _previews_without_their_picture() -> Iterator[None]:
    """Hundreds of folders are prepared, and to draw preview.png takes longer than all the rest. The page is written."""
    if "src.prepare" not in sys.modules:  # no collected test prepares
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.reporting.preview.write.picture_of", lambda _: b"")
        yield


@pytest.fixture(scope="session", autouse=True)
def _figures_are_left_out() -> Iterator[None]:
    """Dozens of pages are made, and to draw their figures takes longer than all the rest."""
    if "torch" not in sys.modules:  # no collected test trains, and none reports
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        figures.leave_out(patch)
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and comparisons with their figures."""
    figures.draw(monkeypatch)


@pytest.fixture
def drawn_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """preview.png as users have it."""
    from src.reporting.preview.picture import picture_of

    monkeypatch.setattr("src.reporting.preview.write.picture_of", picture_of)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PODIUM_HOME: competition/, runs/ and submissions/ are made there."""
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """The messages of this process, in place of standard output."""
    from src.core.console import messages_to

    lines: list[str] = []
    with messages_to(lambda text, code: lines.append(text)):
        yield lines


@pytest.fixture
def notes() -> Iterator[Notes]:
    """What this process notes, also shown as ever."""
    from src.core.console import noted

    found = Notes()
    with noted(found):
        yield found


@pytest.fixture
def tiny(home: Path) -> Path:
    """A home with competition `tiny` and configs/tiny.yaml in it: three colours, trained in seconds."""
    write_tiny(home)
    return home
