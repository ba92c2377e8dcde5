"""What takes the place of a network's last layer: `model.head=cosine`; `linear` leaves it as it is.

Each is one function of the backbone and the network's name, which changes the backbone. A new one: a file with a
function under `@HEADS.register("name")`, here or in PODIUM_HOME/extensions.
"""

from collections.abc import Callable

from torch import nn

from src.core.registry import Registry

HEADS: Registry[Callable[[nn.Module, str], None]] = Registry("head", "src.models.heads", shapes_weights=True)
