"""Every row once an epoch."""

from src.images.samplers import SAMPLERS
from src.images.samplers.sampler import Sampler


@SAMPLERS.register("plain")
class Plain(Sampler):
    pass
