"""Our own networks, registered with timm: importing this package makes their names known."""

from src.models.scratch import resnet8 as _resnet8  # noqa: F401
