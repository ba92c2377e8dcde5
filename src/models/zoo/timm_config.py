"""What our networks share: what timm wants to know of each, and how a narrower one is made."""

from timm.models import generate_default_cfgs


def facts_of(name: str, side: int, first: str, last: str) -> dict:
    """The `default_cfgs` of one network without published weights: the pixels it is made for, its first
    convolution and its last layer."""
    return generate_default_cfgs(
        {
            f"{name}.scratch": {
                "num_classes": 1000,
                "input_size": (3, side, side),
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
                "first_conv": first,
                "classifier": last,
            }
        }
    )


def scaled(channels: int, width: float) -> int:
    """The channels of a network of another width, a multiple of them."""
    return max(1, round(channels * width))
