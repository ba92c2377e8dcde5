"""Which rows an epoch sees: one class in one file each.

A new one: a file with a class under `@SAMPLERS.register("name")`, here or in PODIUM_HOME/extensions. See Sampler.
"""

from typing import Any

from src.core.registry import Registry, parsed
from src.images.samplers.sampler import Drawn, Sampler, epoch_steps, steps_per_epoch

__all__ = ["SAMPLERS", "Drawn", "Sampler", "epoch_steps", "sampler_of", "steps_per_epoch"]

SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "src.images.samplers", shapes_weights=True)


def sampler_of(spec: str | dict[str, Any], exponent: float) -> Sampler:
    """What `data.sampler` asks for. exponent: data.sampler_exponent, of those that have one."""
    name, given = parsed(spec, "data.sampler")
    kind = SAMPLERS.get(name)
    return kind(**({"exponent": exponent} if "exponent" in kind.parameters else {}) | given)
