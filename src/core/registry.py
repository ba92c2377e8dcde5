"""What can be added in one file, by name: every extension point is a `Registry`.

A registered object stands in a file of the registry's own package, or in a file of the user's:
`PODIUM_HOME/extensions/*.py`. Nothing else names it. The files are imported when the first name is asked for, so that
the commands start fast. Extensions are code of the user's: they are never taken from a download.
"""

import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pkgutil
import re
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from src.core.errors import Problem, UsageError
from src.core.launch import launched
from src.core.paths import home
from src.core.suggestions import did_you_mean, nearest

T = TypeVar("T")
PREFIX = "podium_extensions."  # of the module names of the user's files

_registries: list["Registry"] = []
_discovering = threading.RLock()
_loaded: dict[Path, str] = {}  # the user's files that were imported
_digests: dict[str, str] = {}  # by their modules


class Registry(Generic[T]):
    """Objects of one kind by name.

    kind: what a message calls one, such as "metric". package: the dotted name whose modules register the built-in
    ones. They do so with `@REGISTRY.register("name")`, above a class or a function. shapes_weights: whether what it
    holds decides the weights that a run learns.
    """

    def __init__(self, kind: str, package: str, shapes_weights: bool = False) -> None:
        self.kind, self.package, self.shapes_weights = kind, package, shapes_weights
        self._entries: dict[str, list[tuple[str, T]]] = {}  # name -> (module, object); one, but in tests
        self._discovered = self._complete = False
        _registries.append(self)

    def register(self, name: str) -> Callable[[T], T]:
        """Enter what follows under this name. Raises UsageError where the name is taken."""

        def enter(entry: T) -> T:
            self.add(name, entry, getattr(entry, "__module__", self.package))
            return entry

        return enter

    def add(self, name: str, entry: T, module: str) -> None:
        """Enter `entry`, which this module made."""
        there = [other for other, _ in self._visible(name) if other != module]
        if there:
            own, other = sorted((module, there[0]), key=lambda one: not one.startswith(PREFIX))
            raise UsageError(
                f"{_file(own)}: the {self.kind} {name!r} is there already, in {_file(other)}: choose another name",
                code="name-taken",
            )
        if isinstance(entry, type) and issubclass(entry, Configurable):
            entry.registered = name
        kept = [one for one in self._entries.get(name, []) if one[0] != module]
        self._entries[name] = [*kept, (module, entry)]

    def get(self, name: str) -> T:
        """The object of this name. Raises UsageError, with the nearest name, where there is none."""
        self._discover()
        found = self._visible(name)
        if not found:
            text = f"the {self.kind} {name!r} is unknown.{nearest(name, self.names())}"
            raise UsageError(text, code=f"unknown-{self.kind.replace(' ', '-')}")
        return found[-1][1]

    def origin(self, name: str) -> str | None:
        """What tells one version of a user's object from another: its file's hash. None for one of the package's own.

        Whatever is kept of what it made is stale where this differs.
        """
        self.get(name)
        module = self._visible(name)[-1][0]
        return _digests.get(module)

    def names(self) -> list[str]:
        """Every name, the built-in ones first, each in its module's order."""
        self._discover()
        return [name for name in list(self._entries) if self._visible(name)]

    def items(self) -> list[tuple[str, T]]:
        return [(name, self.get(name)) for name in self.names()]

    def __contains__(self, name: str) -> bool:
        self._discover()
        return bool(self._visible(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _discover(self) -> None:
        if not self._complete:
            with _discovering:  # threads that read images ask at once
                if not self._discovered:
                    self._discovered = True  # first, for a module of the package may ask for a name itself
                    import_all(self.package)
                    self._complete = True
        load_extensions()

    def _visible(self, name: str) -> list[tuple[str, T]]:
        """Entries of the package and of the user's folder as PODIUM_HOME names it now."""
        folder = extensions_folder()
        own = {module for path, module in _loaded.items() if path.parent == folder}
        entries = self._entries.get(name, [])
        return [one for one in entries if not one[0].startswith(PREFIX) or one[0] in own]


def import_all(package: str) -> None:
    """Import every module of a package, so that what stands in them is registered."""
    folders = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        importlib.import_module(f"{package}.{name}")


def extensions_folder() -> Path:
    """Where the user's own metrics, losses, targets and so on lie."""
    return _extensions_of(home())


@functools.cache
def _extensions_of(folder: Path) -> Path:
    return folder / "extensions"


def extension_files() -> list[Path]:
    """The user's files, in their order."""
    return sorted(path for path in extensions_folder().glob("*.py") if not path.name.startswith(("_", ".")))


def load_extensions() -> None:
    """Import the user's files that were not imported yet, and say which these are.

    Raises UsageError for a file that cannot be imported: what it holds would be missing later.
    """
    files = extension_files()
    gone = [path for path in list(_loaded) if path.parent == extensions_folder() and path not in files]
    if not gone and all(path in _loaded for path in files):
        return
    with _discovering:
        _load(files, [path for path in gone if path in _loaded])


def _load(files: list[Path], gone: list[Path]) -> None:
    for path in gone:
        _forget(path)
    new = [path for path in files if path not in _loaded]
    for path in new:
        _loaded[path] = module = _module_of(path)
        _digests[module] = _digest(path)
        try:
            importlib.import_module(module)
        except Problem as problem:
            _forget(path)
            raise UsageError(f"{path}: {str(problem).removeprefix(f'{path}: ')}", code=problem.code) from problem
        except Exception as error:
            _forget(path)
            text = f"{path} cannot be loaded: {type(error).__name__}: {error}"
            raise UsageError(text, code="extension-failed") from error
    if new and launched().rank == 0:
        held = [f"{path.name} ({', '.join(_held(_loaded[path])) or 'registers nothing'})" for path in new]
        print(f"extensions of {new[0].parent}: {', '.join(held)}", file=sys.stderr, flush=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _module_of(path: Path) -> str:
    """The same in every process, so that what a file makes can be pickled: a name for this file as it is now."""
    return f"{PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{_digest(path)[:8]}"


class _Finder(importlib.abc.MetaPathFinder):
    """Where the modules of the user's files lie. In a process that unpickles, they are imported by their names."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name == PREFIX[:-1]:
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
        if name.startswith(PREFIX):
            file = next((file for file in extension_files() if _module_of(file) == name), None)
            return importlib.util.spec_from_file_location(name, file) if file else None
        return None


sys.meta_path.append(_Finder())


def check_name(name: str, constant: str, package: str, further: tuple[str, ...] = ()) -> None:
    """Raise UsageError, with the nearest name (`further` ones too), unless the Registry `package`.`constant` has it.

    The package itself is not imported, which may take seconds: names are looked for in the text of its files and of
    the user's. Only a name that stands nowhere, as it may be registered in a roundabout way, has the user's imported.
    """
    known = _written(constant, package)
    if name in known:
        return
    if extension_files():
        known = getattr(importlib.import_module(package), constant).names()
    if name not in known:
        raise UsageError(f"{name!r} is unknown.{nearest(name, [*further, *known])}", code="unknown-name")


def extension_fault(error: BaseException) -> Problem | None:
    """One line for an error that a file of the user's raised, in place of a traceback through the package."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {str(path) for path in _loaded}
    own = [frame for frame in frames if frame.filename in files]
    if not own:
        return None
    return Problem(
        f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}: {type(error).__name__}: {error}",
        code="extension-failed",
    )


def _written(constant: str, package: str) -> list[str]:
    """The names that stand in `@CONSTANT.register("name")`, of the package's own files and of the user's."""
    folder = Path(__file__).parents[2].joinpath(*package.split("."))
    files = [*sorted(folder.glob("*.py")), *extension_files()]
    found = re.compile(rf"""\b{constant}\.register\(\s*["']([^"']+)["']""")
    return [name for file in files for name in found.findall(file.read_text(encoding="utf-8", errors="replace"))]


def weight_shaping_files(words: set[str]) -> dict[str, str]:
    """{file, counted from PODIUM_HOME: hash} of the user's files that registered one of these words, and so decide
    what a run learns."""
    load_extensions()
    own = {path: module for path, module in _loaded.items() if path.parent == extensions_folder()}
    return {
        f"extensions/{path.name}": _digests[module]
        for path, module in own.items()
        if words & {*_networks(module), *_registered(module, [one for one in _registries if one.shapes_weights])}
    }


def _networks(module: str) -> list[str]:
    return getattr(sys.modules[module], "__all__", [])  # where timm's own decorator enters them


def _registered(module: str, registries: list[Registry]) -> list[str]:
    return [
        name
        for registry in registries
        for name, entries in registry._entries.items()
        if any(one == module for one, _ in entries)
    ]


def _held(module: str) -> list[str]:
    """What a module of the user's registered, such as "metric mcc"."""
    networks = [f"network {name}" for name in _networks(module)]
    return networks + [f"{one.kind} {name}" for one in _registries for name in _registered(module, [one])]


def _forget(path: Path) -> None:
    module = _loaded.pop(path)
    sys.modules.pop(module, None)
    for registry in _registries:
        for name, entries in list(registry._entries.items()):
            registry._entries[name] = [one for one in entries if one[0] != module]


def _file(module: str) -> str:
    return str(getattr(sys.modules.get(module), "__file__", None) or module)


class Configurable:
    """An object with parameters that a card may set: `name`, `name@K` for its k, or `{name: ..., beta: 2}`.

    parameters: each by name with its default; a parameter whose default is a type must be given.
    """

    registered: ClassVar[str] = ""  # the name that it was registered under
    parameters: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **given: Any) -> None:
        """Raises UsageError for what is misspelt in the body of a class: it would have no effect, in silence."""
        super().__init_subclass__(**given)
        known = [name for base in cls.__mro__[1:] for name in {**vars(base), **getattr(base, "__annotations__", {})}]
        known = [name for name in dict.fromkeys(known) if not name.startswith("_")]
        for name, value in vars(cls).items():
            if name.startswith("_"):
                continue
            if name not in known:
                meant = did_you_mean(name, known, cutoff=0.85)
                if meant:
                    raise UsageError(f"{cls.__name__} has no {name!r}.{meant}", code="unknown-attribute")
            elif isinstance(getattr(super(cls, cls), name, None), bool) and not isinstance(value, bool):
                raise UsageError(f"{cls.__name__}: {name} must be True or False, not {value!r}", code="wrong-attribute")

    def __init__(self, **given: Any) -> None:
        """Raises UsageError for a parameter that is unknown, missing or of another type."""
        what = self.registered or type(self).__name__
        for key in given:
            if key not in self.parameters:
                raise UsageError(
                    f"{what} has no parameter {key!r}.{nearest(key, list(self.parameters))}", code="unknown-parameter"
                )
        for key, default in self.parameters.items():
            if key not in given and isinstance(default, type):
                raise UsageError(
                    f"{what} needs its parameter {key}: {{name: {what}, {key}: ...}}", code="missing-parameter"
                )
            setattr(self, key, self._sound(key, given.get(key, default), default))
        self.given = given

    def _sound(self, key: str, value: Any, default: Any) -> Any:
        kind = default if isinstance(default, type) else type(default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UsageError(
                f"{self.registered}: {key} must be of type {kind.__name__}, not {value!r}", code="bad-parameter"
            )
        return value

    @property
    def spec(self) -> str | dict[str, Any]:
        """What asks for it, ready for a file."""
        return {"name": self.registered, **self.given} if self.given else self.registered

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.given == other.given

    def __hash__(self) -> int:
        return hash(self.registered)

    @property
    def name(self) -> str:
        """As it was asked for: `map@5`, `fbeta(beta=2)`."""
        if not self.given:
            return self.registered
        if list(self.given) == ["k"]:
            return f"{self.registered}@{self.given['k']}"
        text = (f"{key}={_short(value)}" for key, value in self.given.items())
        return f"{self.registered}({', '.join(text)})"


def _short(value: Any) -> str:
    """A parameter as a name shows it: of a long one only so much as tells it from others."""
    text = str(value)
    return text if len(text) <= 24 else f"...{zlib.crc32(text.encode()):08x}"


def parsed(spec: str | dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of what a card asks for. Raises UsageError."""
    if isinstance(spec, str):
        short = re.fullmatch(r"(.+)@([1-9]\d*)", spec)
        return (short[1], {"k": int(short[2])}) if short else (spec, {})
    parameters = dict(spec)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise UsageError(f"{kind}: {spec} has no name: write {{name: ..., parameter: value}}", code="missing-name")
    return name, parameters
