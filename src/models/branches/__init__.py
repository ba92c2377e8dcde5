"""How columns beside the pictures enter a network: `model.metadata=mlp`. A branch makes numbers of their cells, which
stand beside the picture's features before the last layer.

A new one: a file with a class under `@BRANCHES.register("name")`, here or in PODIUM_HOME/extensions. See Branch.
"""

from src.core.registry import Registry
from src.models.branches.branch import Branch

__all__ = ["BRANCHES", "NONE", "Branch"]

NONE = "none"  # of model.metadata: the network sees pictures alone
BRANCHES: Registry[type[Branch]] = Registry("branch", "src.models.branches", shapes_weights=True)
