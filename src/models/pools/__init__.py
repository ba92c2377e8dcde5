"""What takes the place of a network's pool: `model.pool=gem`; `stock` leaves it as it is.

Each is one function of the backbone and the network's name, which changes the backbone. A new one: a file with a
function under `@POOLS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from collections.abc import Callable

from torch import nn

from src.core.registry import Registry

POOLS: Registry[Callable[[nn.Module, str], None]] = Registry("pool", "src.models.pools", shapes_weights=True)
