"""Extension points: the package's own files and the user's, found by name and by nothing else."""

import importlib
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.core.errors import UsageError
from src.core.paths import REPOSITORY
from src.core.registry import Registry
from src.images.readers import image_suffixes, reader_of
from tests.fixtures.codes import raises

OWN = """
from {package} import THINGS


@THINGS.register("plain")
def plain():
    return "plain"
"""


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A registry whose package has one file, and a home without extensions."""
    package = f"made_things_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"from src.core.registry import Registry\nTHINGS = Registry('thing', {package!r})\n", encoding="utf-8"
    )
    (folder / "plain.py").write_text(OWN.format(package=package), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    yield __import__(package).THINGS
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def extend(tmp_path, things, name, code):
    folder = tmp_path / "home" / "extensions"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f"from {things.package} import THINGS\n{code}", encoding="utf-8")


def test_the_packages_own_files_are_found_when_a_name_is_asked_for(things):
    assert not [name for name in sys.modules if name == f"{things.package}.plain"]
    assert things.get("plain")() == "plain"
    assert "plain" in things and things.names() == ["plain"]


def test_what_a_users_file_makes_can_be_pickled(things, tmp_path):
    """A network goes to other processes so."""
    extend(tmp_path, things, "net", "@THINGS.register('net')\nclass Net:\n    pass\n\n\nmade = Net()\n")
    file = tmp_path / "made.pickle"
    file.write_bytes(pickle.dumps(things.get("net")()))
    code = f"import pickle, src.core.registry; print(type(pickle.load(open({str(file)!r}, 'rb'))).__name__)"
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Net\n"


def test_an_unknown_name_hears_of_the_nearest(things):
    with raises("unknown-thing", "plian", "plain"):
        things.get("plian")


def test_a_users_file_is_found_and_told_once(things, tmp_path, capsys):
    extend(tmp_path, things, "fancy", "@THINGS.register('fancy')\nclass Fancy:\n    size = 3\n")
    assert things.get("fancy").size == 3 and things.names() == ["plain", "fancy"]
    assert things.get("fancy").size == 3
    assert capsys.readouterr().err.count("fancy.py") == 1


def test_a_users_file_belongs_to_its_home(things, tmp_path, monkeypatch):
    extend(tmp_path, things, "fancy", "@THINGS.register('fancy')\ndef fancy():\n    return 1\n")
    assert "fancy" in things
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "other"))
    assert "fancy" not in things and "plain" in things


def test_a_name_that_is_taken_is_refused_with_both_files(things, tmp_path):
    extend(tmp_path, things, "again", "@THINGS.register('plain')\ndef plain():\n    return 2\n")
    with pytest.raises(UsageError) as caught:
        things.get("plain")
    assert "again.py" in str(caught.value) and "plain.py" in str(caught.value)


@pytest.mark.parametrize("code", ["1 / 0", "def (", "import no_such_module_anywhere"])
def test_a_users_file_that_fails_is_named(things, tmp_path, code):
    extend(tmp_path, things, "broken", code)
    for _ in range(2):  # the second time too
        with raises("extension-failed", "broken.py"):
            things.get("plain")


def test_two_registries_do_not_share_names(things):
    other = Registry("other", things.package)
    assert "plain" not in other


def test_threads_that_ask_at_once_see_every_name(tmp_path, monkeypatch):
    """Those that read images do, and the first of them imports the package."""
    folder = tmp_path / "slow_kinds"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from src.core.registry import Registry\nKINDS = Registry('kind', 'slow_kinds')\n"
    )
    for name in ("one", "two"):
        text = f"import time\nfrom slow_kinds import KINDS\ntime.sleep(0.1)\nKINDS.register('{name}')(object())\n"
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = importlib.import_module("slow_kinds").KINDS
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: kinds.names(), range(4))) == [["one", "two"]] * 4


def test_a_name_asks_the_disk_for_nothing(home, monkeypatch):
    """A million of them are asked what reads them, each where the user's own readers may lie."""
    reader_of("a.dcm")
    asked = []
    monkeypatch.setattr(os.path, "realpath", lambda *words, **more: asked.append(words))
    for number in range(100):
        assert reader_of(f"{number}.dcm") is not None and ".png" in image_suffixes()
    assert not asked
