"""Our own networks, registered with timm: importing this package makes their names known."""

from src.models.scratch import plain_cnn, residual, resnet8, vgg19_scratch  # noqa: F401
