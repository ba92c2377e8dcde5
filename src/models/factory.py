"""A name becomes a network: any timm model or one of ours, with its weights and a stem that fits the input."""

import difflib
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from src.config.image_size import Size, SizeWord
from src.config.schema import COLOUR, GRAY, Model
from src.core.errors import Problem, UsageError
from src.models.bag_head import bag_head, pool_bags, split
from src.models.bags import AUTO as SINGLE
from src.models.bags import BAGS
from src.models.classifier import JOINED
from src.models.heads import HEADS
from src.models.hub import HUB
from src.models.joined import Joined, join_columns
from src.models.pools import POOLS
from src.models.unfit import UNFIT
from src.models.weights import from_file, from_published, from_repository
from src.models.zoo import register_networks
from src.targets import TargetType

RUN = "run:"  # model.weights=run:NAME goes on from another run
SMALL_INPUT = 96  # below this many pixels a stock stem throws away most of the picture
TINY_INPUT = 40  # and below this nothing can be spared at all
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue in gray (ITU-R BT.601)
# Arguments with which a network of one size is told to take others too.
OWN_SIZE = ("img_size", "dynamic_img_size", "strict_img_size", "use_naflex")
# What keys of the configuration set.
SET_ELSEWHERE = {"drop_rate", "num_classes", "pretrained", "in_chans", "checkpoint_path"}
ARGS_REMEDY = "take out of model.args, or correct there, what the network cannot have"


class Network(nn.Module):
    """A backbone with its normalisation: (n, channels, h, w) in, as bytes or floats from 0 to 255;
    (n, outputs) logits out.

    With columns beside the pictures (n, columns) float32 cells come in too, and the backbone's features go through its
    `joined` layer. Without them all cells are missing: of pictures of which nothing else is known, as those that a
    size is tried with. One that pools bags is given their images beside each other in the channels. A backbone of
    one channel sees the gray of colours. Outputs with a unit of their own come
    out in it: the backbone makes standardised ones, and holds, as buffers that lie among its weights, the mean and
    standard deviation that turn them back.
    """

    def __init__(
        self, backbone: nn.Module, own_unit: int = 0, channels: int = COLOUR, normalisation: dict | None = None
    ) -> None:
        """own_unit: the number of outputs, where they have a unit of their own. channels: that the backbone sees.
        normalisation: mean and std of each channel, from 0 to 1, where they are not the backbone's own; of channels
        other than colours these are the mean over its colours."""
        super().__init__()
        self.backbone, self.own_unit, self.gray = backbone, own_unit > 0, channels == GRAY
        self.planes, self.slots, self.input_dtype = COLOUR if self.gray else channels, 1, torch.uint8
        bags = bag_head(backbone)
        self.bags = bags.bags if bags is not None else None
        if own_unit:
            backbone.register_buffer("output_mean", torch.zeros(own_unit))
            backbone.register_buffer("output_unit", torch.ones(own_unit))
        config = timm.data.resolve_data_config({}, model=backbone) | (normalisation or {})
        for name in ("mean", "std"):
            values = torch.tensor(config[name])
            if len(values) != self.planes:
                values = values.mean(0, keepdim=True).expand(self.planes)
            values = values.mean(0, keepdim=True) if self.gray else values
            self.register_buffer(name, values.view(1, channels, 1, 1) * 255, persistent=False)
        if self.gray:
            self.register_buffer("luminance", torch.tensor(LUMINANCE).view(1, COLOUR, 1, 1), persistent=False)

    @property
    def joined(self) -> Joined | None:
        """The last layer that sees columns too, where there is one."""
        return getattr(self.backbone, JOINED, None)

    def forward(self, images: torch.Tensor, cells: torch.Tensor | None = None) -> torch.Tensor:
        count, images = images.shape[0], images.float()
        if self.bags is not None:
            images, self.bags.there = split(images, self.planes)
        if self.gray:
            images = (images * self.luminance).sum(1, keepdim=True)
        outputs = self.backbone((images - self.mean) / self.std)
        if self.joined is not None:
            cells = self.joined.nothing_known.expand(count, -1) if cells is None else cells
            outputs = self.joined(outputs, cells)
        if not self.own_unit:
            return outputs
        return outputs.float() * self.backbone.output_unit + self.backbone.output_mean

    def set_unit(self, mean: np.ndarray, unit: np.ndarray) -> None:
        """What standardised outputs are turned back by, (outputs,) each."""
        self.backbone.output_mean.copy_(torch.from_numpy(mean))
        self.backbone.output_unit.copy_(torch.from_numpy(unit))

    def save_memory(self, name: str) -> None:
        """Compute activations again on the way back, in place of keeping them: the same numbers from less memory.

        Raises UsageError for a network that cannot.
        """
        try:
            self.backbone.set_grad_checkpointing(True)
        except (AttributeError, AssertionError, NotImplementedError, TypeError):
            raise UsageError(
                f"train.checkpointing: {name} cannot compute its activations again; set train.checkpointing=false",
                code="no-checkpointing",
            ) from None


def build(model: Model, classes: int, size: SizeWord, target: TargetType | None = None, load: bool = True) -> Network:
    """The network of a configuration, on the CPU; random weights come from torch's present seed. classes: its outputs.
    target: what they are; without one they have no unit.

    With load=False it has the shape that training gave it, but its starting weights are not fetched again.

    Raises UsageError for an unknown name or argument, Problem where the asked weights cannot be had.
    """
    register_networks()
    if not timm.is_model(model.name):
        near = ", ".join(difflib.get_close_matches(model.name, timm.list_models(), n=3))
        raise UsageError(
            f"model.name={model.name}: timm knows no such network" + (f". Near: {near}" if near else ""),
            code="unknown-network",
        )
    odd = [key for key in model.args if not str(key).isidentifier()]
    if odd:  # YAML reads {ratio:0.1} as a key without a value, and timm leaves out what has none
        raise UsageError(
            f"model.args: '{odd[0]}' is no argument's name; write a space after the colon, {{mlp_ratio: 0.1}}",
            code="bad-model-args",
        )
    taken = sorted(SET_ELSEWHERE & set(model.args))
    if taken:
        raise UsageError(
            f"model.args.{taken[0]}: this is set elsewhere (see configs/model/resnet18.yaml), not by model.args",
            code="set-elsewhere",
        )
    try:
        backbone = _created(model, classes, _arguments(model, size), load)
    except UNFIT as error:
        reason = " ".join(str(error).split()) or "the network refuses them"
        remedy = f"; {ARGS_REMEDY}" if model.args else ""
        raise UsageError(
            f"model.name={model.name} with model.args={model.args}, at {size} pixels: {reason}{remedy}",
            code="bad-model-args",
        ) from None
    if model.stem == "small" or (model.stem == "auto" and Size.of(size).short <= SMALL_INPUT):
        _fit_stem(backbone, Size.of(size).short, _has_stock_kernel(model), asked=model.stem == "small")
    POOLS.get(model.pool)(backbone, model.name)
    HEADS.get(model.head)(backbone, model.name)
    if model.bag != SINGLE:
        pool_bags(backbone, model.name, model.bag)
    if model.columns:
        if model.bag != SINGLE and BAGS.get(model.bag).joins_answers:
            text = f"model.bag={model.bag} joins the answers of each image, and columns beside the pictures come before"
            raise UsageError(f"{text}: take model.bag=max, or metadata: none in the card", code="unfit-for-bags")
        join_columns(backbone, model.name, model.metadata, list(model.columns.values()))
    own_unit = classes if target is not None and target.own_unit else 0
    normalisation = {key: value for key in ("mean", "std") if (value := getattr(model, key))}
    network = Network(backbone, own_unit, model.channels, normalisation)
    try:
        try_size(network, model.name, size, classes)
    except Problem as problem:
        if isinstance(problem, UsageError) or not model.args or not _fits_without_args(model, classes, size):
            raise
        raise UsageError(
            f"model.args={model.args}: {problem}. Without model.args it does: {ARGS_REMEDY}",
            code="bad-model-args",
        ) from None
    return network


def only_size(model: Model, classes: int, size: SizeWord) -> int | None:
    """The side of the images that a network is made for, where its weights fit no other, such as a mixer's; else None.

    size: another one, that is tried.
    """
    known = timm.get_pretrained_cfg(model.name)
    if not known or not known.fixed_input_size or any(key in model.args for key in OWN_SIZE):
        return None
    try:
        build(model, classes, size)
    except Problem as problem:
        return known.input_size[-1] if problem.code == "bad-image-size" else None
    return None


def _fits_without_args(model: Model, classes: int, size: SizeWord) -> bool:
    try:
        build(model.model_copy(update={"args": {}}), classes, size, load=False)
    except Problem:
        return False
    return True


def _arguments(model: Model, size: SizeWord) -> dict[str, Any]:
    """What timm is to make the network with. One that takes a single size is made for this one."""
    arguments = {**model.args, "drop_rate": model.drop_rate}
    if model.channels != COLOUR:
        arguments["in_chans"] = model.channels
    known = timm.get_pretrained_cfg(model.name)
    if known and known.fixed_input_size and not any(key in model.args for key in OWN_SIZE):
        arguments["img_size"] = size if Size.of(size).is_square else Size.of(size).shape
    return arguments


def _created(model: Model, classes: int, arguments: dict[str, Any], load: bool) -> nn.Module:
    if model.weights and load and model.weights.startswith(HUB):
        return from_repository(model.name, model.weights, classes, arguments)
    if model.weights and load and not model.weights.startswith(RUN):  # a run's weights are put in fold by fold
        return from_file(model.name, model.weights, classes, arguments)
    if model.pretrained is True and load:
        return from_published(model.name, classes, arguments)
    return timm.create_model(model.name, num_classes=classes, **arguments)


def _has_stock_kernel(model: Model) -> bool:
    """Whether the stem's first convolution comes trained, 7x7 as published."""
    return model.pretrained is True or bool(model.weights and not model.weights.startswith(RUN))


def _fit_stem(backbone: nn.Module, size: int, keep_kernel: bool, asked: bool) -> None:
    """Let a stock stem, made for 224 pixels, throw away less of a small picture.

    A ResNet's fourfold reduction becomes twofold below 96 pixels and none below 40; trained 7x7 kernels stay and only
    move closer together, a stem from scratch gets a 3x3 kernel. A VGG loses its first pool below 40 pixels: of 28,
    five pools would leave nothing.
    """
    conv, features = getattr(backbone, "conv1", None), getattr(backbone, "features", None)
    if isinstance(conv, nn.Conv2d) and hasattr(backbone, "maxpool"):
        stride = 1 if size <= TINY_INPUT else 2
        if keep_kernel:
            conv.stride = (stride, stride)
        else:
            backbone.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, stride, 1, bias=conv.bias is not None)
            nn.init.kaiming_normal_(backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        backbone.maxpool = nn.Identity()
    elif isinstance(conv, nn.Sequential) and hasattr(backbone, "maxpool"):  # a deep stem, as resnet10t's
        if size <= TINY_INPUT:
            conv[0].stride = (1, 1)
        backbone.maxpool = nn.Identity()
    elif isinstance(features, nn.Sequential) and any(isinstance(layer, nn.MaxPool2d) for layer in features):
        if size <= TINY_INPUT:
            first = next(i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d))
            features[first] = nn.Identity()
    elif asked:
        raise UsageError(
            "model.stem=small is for ResNets and VGGs: this network has no stem that Podium knows to change",
            code="unfit-network",
        )


def try_size(network: Network, name: str, size: SizeWord, classes: int) -> None:
    """Raises Problem where the network `name` cannot take images of `size` pixels, UsageError where it does not answer
    with (n, classes)."""
    network.eval()
    try:
        with torch.no_grad():
            answers = network(torch.zeros(1, network.planes, *Size.of(size).shape, dtype=torch.uint8))
    except UNFIT as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Problem(
            f"{name} cannot take images of {size} pixels (images.size): {reason}{_own_size(network)}",
            code="bad-image-size",
        ) from None
    if not isinstance(answers, torch.Tensor) or answers.shape != (1, classes):
        shape = tuple(answers.shape) if isinstance(answers, torch.Tensor) else type(answers).__name__
        raise UsageError(
            f"{name} answers an image with {shape} where {classes} outputs are asked for: it has no pool or no "
            f"classifier (see model.args and model.pool)",
            code="unfit-network",
        )
    network.train()


def _own_size(network: Network) -> str:
    made_for = (getattr(network.backbone, "pretrained_cfg", None) or {}).get("input_size")
    return f". It is made for {made_for[-1]}" if made_for else ""
