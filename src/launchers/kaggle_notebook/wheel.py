"""The part of Podium that a notebook needs, worked out from the imports, as one wheel that installs offline."""

import ast
import base64
import functools
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from src.core.paths import REPOSITORY

NAME, VERSION = "podium_notebook", "1"
PYTHON = ">=3.11"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"
DATE = (2020, 1, 1, 0, 0, 0)  # of every file in the wheel: the same sources give the same bytes


def modules_of(roots: Iterable[str]) -> dict[str, Path]:
    """{dotted name: file} of these modules of Podium and of all that they import, anywhere in their code."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None:
            continue
        found[name] = file
        parts = name.split(".")
        waiting += [".".join(parts[:depth]) for depth in range(1, len(parts))]  # the packages around it
        waiting += [one for one in imported(file) if one.split(".")[0] == "src"]
        waiting += registered(file)
    return dict(sorted(found.items()))


def imported(file: Path) -> tuple[str, ...]:
    """The dotted names that a file imports when it runs; what only type checkers read is left out."""
    return _read(file.read_text(encoding="utf-8"))[0]


def registered(file: Path) -> list[str]:
    """The modules of the registries that a file opens: they are found by their folder, and imported nowhere by name."""
    packages = _read(file.read_text(encoding="utf-8"))[1]
    return [f"{one}.{path.stem}" for one in packages for path in REPOSITORY.joinpath(*one.split(".")).glob("*.py")]


@functools.cache
def _read(source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What such a source imports, and the packages of its registries. To parse all of Podium takes a second."""
    names: list[str] = []
    packages: list[str] = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _name(node.func) in ("Registry", "import_all"):
            packages += [one.value for one in node.args[-1:] if isinstance(one, ast.Constant)]
        waiting += ast.iter_child_nodes(node)
    return tuple(names), tuple(packages)


def _name(node: ast.expr) -> str:
    """Of a variable, or of an attribute without its owner; empty for anything else."""
    return getattr(node, "id", "") or getattr(node, "attr", "")


@functools.cache
def _providers() -> Mapping[str, list[str]]:
    """The installed packages that bring each module: every file of every package is looked at."""
    return packages_distributions()


def requirements_of(files: Iterable[Path]) -> list[str]:
    """The names, without versions, of the installed packages that these files import."""
    tops = {name.split(".")[0] for file in files for name in imported(file)}
    known = _providers()
    # Of several packages that bring one module, such as the builds of opencv, the notebook may have any.
    return sorted({known[top][0].lower() for top in tops - {"cv2", "src"} if top in known})


def write_wheel(folder: Path, roots: Iterable[str], more: Iterable[str] = ()) -> Path:
    """Write the wheel of these modules and all that they import into `folder`. `more`: further files of the repository,
    by their path in it."""
    modules = modules_of(roots)
    names = [str(file.relative_to(REPOSITORY)) for file in modules.values()] + list(more)
    contents = {name: (REPOSITORY / name).read_bytes() for name in sorted(names)}
    needs = f"Requires-Python: {PYTHON}\n"  # pip names it where the image is too old
    needs += "".join(f"Requires-Dist: {name}\n" for name in requirements_of(modules.values()))
    described = f"{NAME}-{VERSION}.dist-info"
    contents |= {
        f"{described}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n{needs}".encode(),
        f"{described}/WHEEL": b"Wheel-Version: 1.0\nGenerator: podium\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _packed(folder / WHEEL, contents, described)


def write_installed_wheel(folder: Path, package: str) -> Path:
    """Write the wheel of a package of pure Python that is installed here into `folder`, from its files."""
    there = distribution(package)
    files = {str(file): file.locate() for file in there.files if file.parts[0] != ".." and file.suffix != ".pyc"}
    described = next(name.partition("/")[0] for name in files if name.endswith(".dist-info/METADATA"))
    made_here = {f"{described}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    contents = {name: path.read_bytes() for name, path in sorted(files.items()) if name not in made_here}
    return _packed(folder / f"{described.removesuffix('.dist-info')}-py3-none-any.whl", contents, described)


def _packed(path: Path, contents: dict[str, bytes], described: str) -> Path:
    """described: the folder of the wheel's own description."""
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in contents.items())
    contents[f"{described}/RECORD"] = f"{record}{described}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, data)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _file(name: str) -> Path | None:
    """The file of a module of Podium; None where `name` is something inside one."""
    path = REPOSITORY.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
