"""The rules of the house, read from the code itself: which way imports run, and who alone may do what."""

import ast
import functools
import graphlib
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from src.core.paths import REPOSITORY

# Low to high: a module may import from its own room and from lower floors. Rooms on one floor keep apart.
FLOORS = (
    ("core",),
    ("config",),
    ("targets",),
    ("metrics", "losses"),
    ("images", "models", "evaluation"),
    ("competition",),
    ("submission",),
    ("inference",),
    ("training",),
    ("reporting", "export"),
    ("launchers",),
    ("experiments",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
TOP = {"competition", "configs", "src", "submissions", "tests", "requirements.txt", "run.sh"}
TOP |= {"README.md", "LICENSE", "pyproject.toml", ".ci", ".gitignore", ".pictures"}
LONGEST = 450  # lines of a file in src/
WHOLE_WAY = "src.run"  # the command that is three others, one after the other
LARGEST = 300_000  # bytes of a file in git
RAW_READERS = {"imread", "imreadmulti", "imdecode", "imdecodemulti", "imreadanimation", "read_image", "decode_image"}


def functions_of(tree: ast.Module) -> set[str]:
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def dotted(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)


FILES = {dotted(file): file for file in sorted((REPOSITORY / "src").rglob("*.py"))}


@functools.cache  # not when tests are collected, which each process does
def modules() -> dict[str, ast.Module]:
    return {name: ast.parse(file.read_text(encoding="utf-8"), str(file)) for name, file in FILES.items()}


@functools.cache
def doors() -> set[str]:
    return {name for name, tree in modules().items() if name.count(".") == 1 and "main" in functions_of(tree)}


@functools.cache  # each rule asks all modules
def imported(tree: ast.Module) -> tuple[str, ...]:
    """The dotted names that a module imports, at its top or inside a function."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where a name comes from"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


@functools.cache
def calls(tree: ast.Module) -> tuple[tuple[ast.Call, str], ...]:
    """Every call, and what is called as it is written."""
    return tuple((node, ast.unparse(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call))


def knowing(library: str) -> set[str]:
    """The modules that import a library."""
    return {
        name for name, tree in modules().items() if any(f"{one}.".startswith(f"{library}.") for one in imported(tree))
    }


def room(name: str) -> str:
    return name.split(".")[1]


def tracked() -> list[PurePosixPath]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this copy has no .git, so what is in git cannot be told")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    paths = [PurePosixPath(path) for path in listed.stdout.split("\0") if path]
    assert len(paths) > 50, "git lists too few files to judge by"
    return paths


def test_what_is_read_here_is_not_empty():
    assert len(modules()) > 40
    assert {"src.train", "src.predict", "src.submit"} <= doors()
    rooms = {room(name) for name in modules() if name.count(".") > 1}
    assert {"core", "config", "images", "models", "evaluation", "competition", "submission", "inference"} <= rooms
    assert rooms <= set(LEVEL)


def test_every_module_has_a_floor():
    homeless = {
        name for name in modules() if name not in doors() and name != "src.__init__" and room(name) not in LEVEL
    }
    assert not homeless


def test_imports_run_one_way():
    against = []
    for name, tree in modules().items():
        level = len(FLOORS) if name in doors() or name == "src.__init__" else LEVEL[room(name)]
        for other in imported(tree):
            if other == "src" or not other.startswith("src."):
                continue
            above = name != WHOLE_WAY if "src." + room(other) in doors() else LEVEL[room(other)] >= level
            if room(other) != room(name) and above:
                against.append(f"{name} imports {other}, which does not lie below it")
    assert not against


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions and under TYPE_CHECKING count too: they hide a circle, and do not open it."""
    known = set(modules())

    def modules_of(name: str) -> set[str]:
        found = {other if other in known else other.rpartition(".")[0] for other in imported(modules()[name])}
        return (found & known) - {name, f"{name}.__init__"}

    tuple(graphlib.TopologicalSorter({name: modules_of(name) for name in known}).static_order())


def test_doors_parse_and_call_and_no_more():
    """A door that grows code of its own grows code that no other door can use."""
    for name in doors():
        lines = FILES[name].read_text().splitlines()
        assert len(lines) < 150, f"{name} has {len(lines)} lines"
        assert "COMMAND.main(work, argv)" in FILES[name].read_text(), f"{name}: one front for all commands"


def test_one_module_knows_albumentations():
    assert knowing("albumentations") == {"src.images.augment"}


def test_one_module_each_shows_how_far_work_is():
    assert not knowing("tqdm")
    assert knowing("rich") == {"src.core.console", "src.core.progress_table"}


def test_one_module_knows_openvino():
    """It also sees to it that nothing is sent."""
    assert knowing("openvino") | knowing("nncf") == {"src.inference.backends.openvino_backend"}
    assert not knowing("openvino_telemetry")


def test_one_module_knows_onnxruntime():
    assert knowing("onnxruntime") | knowing("onnx") == {"src.inference.backends.onnxruntime_backend"}


def test_one_module_knows_optuna():
    assert knowing("optuna") == {"src.experiments.study"}


def test_one_module_knows_ray():
    assert knowing("ray") == {"src.launchers.ray.connection"}


def test_one_module_decodes_images():
    readers = {
        name
        for name, tree in modules().items()
        for call, written in calls(tree)
        if isinstance(call.func, ast.Attribute)
        and (call.func.attr in RAW_READERS or written in ("Image.open", "PIL.Image.open"))
    }
    assert readers == {"src.images.decode"}
    assert knowing("torchvision") == {"src.training.mixing"}


def test_one_module_runs_the_kaggle_command():
    running = {
        name
        for name in knowing("subprocess") | knowing("os.system") | knowing("asyncio")
        if any(isinstance(node, ast.Constant) and node.value == "kaggle" for node in ast.walk(modules()[name]))
    }
    assert running == {"src.submission.kaggle.command"}
    # What listens inside the command's own process is no part of ours.
    listener = {name for name in modules() if name.startswith("src.submission.kaggle.listener.")}
    assert (knowing("kaggle") | knowing("kagglesdk") | knowing("requests")) - listener == set()
    assert not knowing("src.submission.kaggle.listener")


def test_nothing_untrusted_is_executed():
    """Pickles, plain yaml.load and shells run what a downloaded file tells them to."""
    seen = 0
    for name, tree in modules().items():
        for call, written in calls(tree):
            options = {k.arg: k.value for k in call.keywords}
            assert written not in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load"), name
            assert not written.startswith(("pickle.load", "pickle.Unpickler", "joblib.load")), name
            assert "shell" not in options, f"{name}: {written} with shell="
            if written == "yaml.load":
                assert ast.unparse(options["Loader"]) in ("yaml.SafeLoader", "yaml.BaseLoader"), name
            if written == "torch.load":
                seen += 1
                assert ast.unparse(options["weights_only"]) == "True", name
            if "allow_pickle" in options:
                assert ast.unparse(options["allow_pickle"]) == "False", name
    assert seen, "no torch.load was looked at"


def test_names_tell_what_is_inside():
    for file in [*FILES.values(), *(REPOSITORY / "tests").rglob("*.py")]:
        assert file.stem not in ("utils", "util", "common", "helpers", "helper", "misc", "tools", "base"), file


def test_files_are_short_and_say_what_they_are():
    texts = {name: file.read_text(encoding="utf-8") for name, file in FILES.items()}
    assert not [name for name, text in texts.items() if len(text.splitlines()) > LONGEST]
    silent = [name for name, text in texts.items() if text.strip() and not ast.get_docstring(modules()[name])]
    assert not silent, "its first line must say what the file is"


def test_the_top_level_is_fixed():
    assert {path.parts[0] for path in tracked()} <= TOP


def test_nothing_big_or_made_at_work_is_in_git():
    made = {"runs", "data", "cache", "answers", "lock", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache"}
    kinds = {".npy", ".npz", ".pt", ".pth", ".safetensors", ".zip", ".gz", ".pyc", ".part", ".log"}
    for path in tracked():
        file = REPOSITORY / path
        assert not made & set(path.parts), f"{path} is made at work: it does not belong into git"
        assert path.suffix not in kinds, path
        assert path.parts[0] != "submissions" or path.suffix != ".csv", path
        assert not file.is_file() or file.stat().st_size <= LARGEST, f"{path} is {file.stat().st_size} bytes"


def test_one_module_knows_file_locks():
    assert knowing("fcntl") == {"src.core.locks"}


def test_every_error_has_a_code():
    """Programs and tests tell errors apart by their codes; "failed" and "usage" tell nothing."""
    bases = {"Problem", "UsageError"}  # and classes of theirs without a code of their own
    classes = [node for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    coded = {node.name for node in classes if any(ast.unparse(line).startswith("code = ") for line in node.body)}
    while (
        more := {
            node.name
            for node in classes
            if {ast.unparse(base) for base in node.bases} & bases and node.name not in coded
        }
        - bases
    ):
        bases |= more
    made = [
        (f"{FILES[name]}:{call.lineno}", [word.value for word in call.keywords if word.arg == "code"])
        for name, tree in modules().items()
        for call, written in calls(tree)
        if written.rpartition(".")[2] in bases
    ]
    assert len(made) > 300, "too few errors were looked at"
    assert not [place for place, code in made if not code], "an error without code="
    codes = [word.value for _, code in made for word in code if isinstance(word, ast.Constant)]
    assert not [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)]


def test_no_test_asserts_a_sentence():
    """Sentences may be mended freely: a test asserts codes, keys and numbers, or a command that is to be copied.

    A sentence: three plain words in a row, within what is looked for or compared with.
    """
    asserted = re.compile(r"""match=[rf]*"([^"\n]*)"|"([^"\n]*)"\s(?:not\s)?in\s|[!=]=\s[rf]*"([^"\n]*)\"""")
    sentence = re.compile(r"(?<![\w.])[A-Za-z][a-z']*,? [a-z']+,? [a-z']+\b")
    meant = {
        "optim.lr 1e-4 to 1e-1 (evenly by factors)",  # a part of what a search is known by: it is stored
        "out of fold",  # a line of a process far away, which brings no code
        "python -m src.train with the same words",  # the advice is followed
        "python -m pytest -k two words",
    }
    files = sorted((REPOSITORY / "tests").rglob("test_*.py"))
    assert len(files) > 60
    found = {
        text: f"{file.relative_to(REPOSITORY)}: {text}"
        for file in files
        for text in ("".join(parts) for parts in asserted.findall(file.read_text(encoding="utf-8")))
        if sentence.search(text)
    }
    assert not {text: place for text, place in found.items() if text not in meant}
    assert meant <= found.keys(), "an exception that is no more"
