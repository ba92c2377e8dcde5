"""The rows of the bench: every module of this folder that has a ROW, or several ROWS. A new one is one new file."""

import importlib
import pkgutil

import tests.bench
from tests.bench.row import Row

NONE: tuple[Row, ...] = ()


def found() -> dict[str, Row]:
    """By name, in the order of the modules."""
    names = [one.name for one in pkgutil.iter_modules(tests.bench.__path__) if not one.ispkg]
    modules = [importlib.import_module(f"tests.bench.{name}") for name in names if name not in ("__main__", "rows")]
    made = [row for module in modules for row in (*getattr(module, "ROWS", NONE), getattr(module, "ROW", None)) if row]
    return {row.name: row for row in made}


ROWS = found()
