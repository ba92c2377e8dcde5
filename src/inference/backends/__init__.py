"""What runs trained networks at prediction: torch, as in training, and faster libraries. One class in one file each.

A new one: a file with a class under `@BACKENDS.register("name")`, here or in PODIUM_HOME/extensions. See Backend.
"""

from src.core.errors import UsageError
from src.core.registry import Registry
from src.core.suggestions import nearest
from src.inference.backends.backend import TORCH, Backend, Engine

__all__ = ["BACKENDS", "TORCH", "Backend", "Engine", "backend_of", "check_precision"]

BACKENDS: Registry[type[Backend]] = Registry("backend", "src.inference.backends")
AUTO = "auto"


def backend_of(engine: Engine) -> Backend:
    return BACKENDS.get(engine.name)()


def check_precision(engine: str, precision: str) -> None:
    """Raise UsageError where that backend, or of `auto` every backend, has no such precision."""
    asked = [backend for name, backend in BACKENDS.items() if engine in (AUTO, name)]
    known = list(dict.fromkeys(one for backend in asked for one in backend.precisions))
    if precision not in (AUTO, *known):
        who = "no backend has it" if engine == AUTO else f"{engine} can {' and '.join(known)}"
        raise UsageError(
            f"predict.precision={precision}: {who}.{nearest(precision, known)}", code="unsupported-precision"
        )
