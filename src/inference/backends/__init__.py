"""What runs trained networks at prediction: torch, as in training, and faster libraries. One class in one file each.

A new one: a file with a class under `@BACKENDS.register("name")`, here or in PODIUM_HOME/extensions. See Backend.
"""

from src.core.registry import Registry
from src.inference.backends.backend import TORCH, Backend, Engine

__all__ = ["BACKENDS", "TORCH", "Backend", "Engine", "backend_of"]

BACKENDS: Registry[type[Backend]] = Registry("backend", "src.inference.backends")


def backend_of(engine: Engine) -> Backend:
    return BACKENDS.get(engine.name)()
