"""The schema of an experiment: every key that may be set, and of which kind its value is.

The values and their meaning stand in configs/default.yaml.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from src.config.image_size import Size, SizeWord, size_word, tiles_word
from src.core.errors import UsageError
from src.core.registry import check_name, parsed
from src.core.suggestions import nearest_key

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
ImageSize = Annotated[SizeWord, BeforeValidator(size_word)]
Tiles = Annotated[str, BeforeValidator(tiles_word)]
GRAY, COLOUR = 1, 3  # channels that a network sees of ordinary pictures


def _registered(constant: str, package: str, *further: str) -> AfterValidator:
    """A name of the registry `package`.`constant`, or one of `further`; with parameters: {name: focal, gamma: 1.5}."""

    def check(spec: Any) -> Any:
        try:
            name, _ = parsed(spec, "name")
            if name not in further:
                check_name(name, constant, package, further)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return spec

    return AfterValidator(check)


Spec = str | dict[str, Any]
SAMPLER = "SAMPLERS", "src.images.samplers"
PROBE = "PROBES", "src.training.probes"
LossName = Annotated[Spec, _registered("LOSSES", "src.losses", "auto")]
ScheduleName = Annotated[Spec, _registered("SCHEDULES", "src.training.schedules")]
BackendName = Annotated[str, _registered("BACKENDS", "src.inference.backends", "auto")]

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def seconds_of(budget: str) -> int:
    """Of a time such as 20m, 90s or 1h30m. Raises ValueError for anything else, and for no time at all."""
    found = DURATION.fullmatch(budget)
    seconds = (
        sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    )
    if not seconds:
        raise ValueError("write a time with its unit, such as 20m, 90s or 1h30m")
    return seconds


def _budget(word: Any) -> Any:
    if word is not None:
        seconds_of(str(word))  # 20 alone may be minutes or seconds
    return word


Budget = Annotated[str | None, BeforeValidator(_budget)]

# These say how the work is done or looked at, not what is learned: they may change between two commands on one run.
FREE_SECTIONS = ("machine", "predict", "log", "kernel")
# Chosen from the images and the machine where they say auto; train.batch=auto is another matter: it asks the memory.
REQUEST_WORDS = ("config", "competition", "run", "runs", "fold", "seed")  # words of a command that are no keys
AUTO_KEYS = (
    "images.size",
    "model.name",
    "data.sampler",
    "train.epochs",
    "train.global_batch",
    "model.pretrained",
    "model.pool",
)


LATER = {"later": True}


def later(usual: Any, **limits: Any) -> Any:
    """A key that is newer than runs that exist. `usual` means: as it was before the key.

    With that value a configuration has the hash that it had before, and older runs go on.
    """
    return Field(default=usual, json_schema_extra=LATER, **limits)


class Section(BaseModel):
    # Strict: `true` is no learning rate, and 2.5 no number of epochs.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

    @property
    def off(self) -> bool:
        """Whether the section asks for nothing, whatever its other keys say: then it is no part of what is learned."""
        return False


class Data(Section):
    folds: Annotated[int, Field(ge=2)]
    fold_seed: int
    validation: Literal["folds", "host"]
    duplicates: Literal["group", "ignore"]
    extra: list[str]
    ignore: Annotated[str, Field(min_length=1)] | None = None  # a run's own file may come without it
    sampler: Annotated[Spec, _registered(*SAMPLER, "auto")]
    sampler_exponent: NotNegative


class Images(Section):
    size: ImageSize | Literal["auto"]
    load_size: ImageSize | None
    fit: Annotated[str, _registered("FITS", "src.images.fits")]
    prepare: list[str]
    tiles: Tiles | None = later(None)
    bag_size: Positive | None = later(None)
    slices: Annotated[int, Field(ge=2, le=64)] | None = later(None)

    def load_side(self, size: SizeWord | None = None) -> SizeWord:
        """The size in the cache for networks that see `size` pixels (None: as trained).

        The room for crops grows with the size that is asked for.
        """
        own = Size.of(self.size)
        loaded = Size.of(self.load_size) if self.load_size else Size(*(round(side * 9 / 8) for side in own.shape))
        sides = zip(Size.of(size or self.size).shape, loaded.shape, own.shape, strict=True)
        return Size(*(round(asked * kept / seen) for asked, kept, seen in sides)).word


class Model(Section):
    name: str
    pretrained: bool | Literal["auto"]
    weights: str | None  # a file or run:NAME; goes before published weights
    stem: Literal["auto", "stock", "small"]
    drop_rate: Fraction
    pool: Annotated[str, _registered("POOLS", "src.models.pools", "auto")]
    head: Annotated[str, _registered("HEADS", "src.models.heads")]
    args: dict[str, Any]
    metadata: Annotated[str, _registered("BRANCHES", "src.models.branches", "none")] = later("none")
    columns: dict[str, Annotated[int, Field(ge=0)]] | None = later(None)  # {name: categories, 0 of a number}; not given
    channels: Positive = later(3)
    bag: Annotated[str, _registered("BAGS", "src.models.bags", "auto")] = later("auto")
    mean: list[Fraction] | None = later(None)
    std: list[Annotated[float, Field(gt=0, le=1)]] | None = later(None)

    @property
    def planes(self) -> int:
        """Channels of the images that the network is given: of one that sees gray those of a colour."""
        return COLOUR if self.channels == GRAY else self.channels

    @model_validator(mode="after")
    def _each_channel(self) -> "Model":
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.planes:
                raise ValueError(f"{name} has {len(values)} numbers, and there are {self.planes} channels")
        return self

    @model_validator(mode="before")
    @classmethod
    def _named_weights(cls, tree: Any) -> Any:
        """`pretrained: FILE` and `pretrained: run:NAME` say in one key what `weights` says."""
        given = tree.get("pretrained") if isinstance(tree, dict) else None
        if not isinstance(given, str) or not re.fullmatch(r"run:.+|.*/.*|.+\.(safetensors|pth|pt|bin)", given):
            return tree
        if tree.get("weights") not in (None, given):
            raise ValueError(f"names other weights than model.weights={tree['weights']}: drop one of the two")
        return tree | {"pretrained": "auto", "weights": given}


class Augment(Section):
    transforms: list[str | dict[str, Any]]
    only: list[str | int] | Literal["all_but_largest"] | None


class Loss(Section):
    name: LossName
    smoothing: Fraction
    class_weights: Literal["none", "balanced", "effective"]
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    gamma: NotNegative
    margin: NotNegative


class Optim(Section):
    name: str
    lr: Annotated[float, Field(gt=0)]
    weight_decay: NotNegative
    momentum: Fraction
    clip: Annotated[float, Field(gt=0)] | None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None
    args: dict[str, Any]


class Schedule(Section):
    name: ScheduleName
    warmup_epochs: NotNegative
    warmup_steps: Annotated[int, Field(ge=0)] | None = later(None)
    step_epochs: Positive
    decay: Annotated[float, Field(gt=0, le=1)]
    patience: Annotated[int, Field(ge=0)]

    def of_steps(self, steps: int) -> "Schedule":
        """The section with its warm-up in epochs of so many steps."""
        if self.warmup_steps is None:
            return self
        return self.model_copy(update={"warmup_epochs": self.warmup_steps / steps, "warmup_steps": None})


Frozen = Literal["nothing", "trunk"] | Positive  # a number: of the first groups of layers


class Stage(Section):
    """Some epochs of a run. What a stage leaves out is as in the rest of the configuration."""

    epochs: Positive
    lr: Annotated[float, Field(gt=0)] | None = None
    frozen: Frozen = "nothing"
    size: ImageSize | None = None
    augment: Augment | None = None
    sampler: Annotated[Spec, _registered(*SAMPLER)] | None = None
    sampler_exponent: NotNegative | None = None


class Train(Section):
    epochs: Positive | Literal["auto"]
    batch: Positive | Literal["auto"]
    global_batch: Positive | Literal["auto"] | None
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    keep: Literal["last", "best"]
    patience: Annotated[int, Field(ge=0)]
    frozen: Frozen
    head_init: Literal["random", "probe"] = later("random")
    hold_norms: bool = later(False)
    mixup: NotNegative
    cutmix: NotNegative
    stages: list[Stage]
    checkpointing: bool = later(False)


class Teach(Section):
    run: Annotated[str, Field(pattern=r"^\w[\w.+=-]*$")] | None = None
    distill: Fraction = 0.5
    pseudo: Fraction | None = None

    @property
    def off(self) -> bool:
        return self.run is None and self.pseudo is None


class Probe(Section):
    head: Annotated[Spec, _registered(*PROBE, "auto")] | None = None
    views: Annotated[list[str], Field(min_length=1)] = ["identity", "hflip"]
    features: str | None = later(None, min_length=1)

    @model_validator(mode="after")
    def _features_have_a_head(self) -> "Probe":
        if self.features is not None and self.head is None:
            raise ValueError("probe.features are for a head to be fitted on: give probe.head=auto, or leave them out")
        return self

    @property
    def off(self) -> bool:
        return self.head is None


class Machine(Section):
    device: Literal["auto", "cpu", "cuda", "mps"]
    jobs: Positive | Literal["auto"]
    threads: Positive | Literal["auto"]
    layout: Literal["auto", "channels_last", "contiguous"]
    workers: Annotated[int, Field(ge=0)] | Literal["auto"]
    checkpoint_minutes: Annotated[float, Field(gt=0)]
    cache_max_gb: Annotated[float, Field(gt=0)]
    cache_local: Annotated[str, Field(min_length=1)] | None = None


class Predict(Section):
    decide: Literal["auto", "plain"]
    metadata: Literal["auto", "none"] = "auto"  # a run's own file may come without it
    views: Annotated[list[str], Field(min_length=1)]
    budget: Annotated[float, Field(gt=0)] | None
    blend: Literal["auto", "best", "mean"]
    shared: bool
    size: ImageSize | None
    batch: Positive
    engine: BackendName
    precision: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    tolerance: Annotated[float, Field(gt=0, le=1)]


class Log(Section):
    tensorboard: bool
    train_scores: bool
    gradients: bool = False  # a run's own file may come without it


class Kernel(Section):
    hours: Annotated[float, Field(gt=0, le=24)] = 9
    machine: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    wheels: Annotated[str, Field(min_length=1)] | None = None
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] | None = None


class Config(Section):
    """One experiment, checked: every key known, every value of its kind."""

    competition: str
    budget: Budget = later(None)
    data: Data
    images: Images
    model: Model
    augment: Augment
    loss: Loss
    optim: Optim
    schedule: Schedule
    train: Train
    teach: Teach = Teach()
    probe: Probe = Probe()
    machine: Machine
    predict: Predict
    log: Log
    kernel: Kernel = Kernel()  # a run's own file may come without it

    @model_validator(mode="after")
    def _same_proportions(self) -> "Config":
        """A picture that is brought to one size and then to another keeps its proportions."""
        if self.images.size == "auto":
            return self
        own = Size.of(self.images.size)
        further = {"images.load_size": self.images.load_size, "predict.size": self.predict.size}
        further |= {f"train.stages.{place}.size": stage.size for place, stage in enumerate(self.train.stages)}
        for key, size in further.items():
            if size is not None and not Size.of(size).is_like(own):
                raise UsageError(
                    f"{key}={size} has other proportions than images.size={own}, and pictures would be squeezed: "
                    "write it as height x width too, such as 256x512",
                    code="size-proportions",
                )
        return self

    @property
    def planes(self) -> int:
        """Channels of what the network is given for a row: those of all images of a bag."""
        return self.model.planes * (self.images.bag_size or 1)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The keys that say auto and must be settled before there is anything to train."""
        return tuple(key for key in AUTO_KEYS if self.value(key) == "auto")

    @property
    def begins_from_probe(self) -> bool:
        """Whether training begins with a last layer that is fitted on frozen features."""
        return self.train.head_init == "probe"

    @property
    def only_probe(self) -> bool:
        """Whether nothing is trained but the last layer, on frozen features."""
        return not self.probe.off and not self.begins_from_probe

    @property
    def epochs(self) -> int:
        """All epochs: of the stages where there are any."""
        return sum(stage.epochs for stage in self.train.stages) or self.train.epochs

    def value(self, key: str) -> Any:
        section, name = key.split(".")
        return getattr(getattr(self, section), name)

    def identity(self) -> dict[str, Any]:
        """The keys that decide what is learned: a run folder belongs to exactly one such set."""
        off = {name for name, section in self if isinstance(section, Section) and section.off}
        off -= {"probe"} if self.begins_from_probe else set()
        return self.model_dump(exclude={*FREE_SECTIONS, *off})

    def hash(self) -> str:
        return hash_of(self.identity())


def hash_of(identity: dict[str, Any]) -> str:
    """Eight hex digits of the SHA-256 of what decides the learning, without later keys that say "as before"."""
    text = json.dumps(_without_later(Config, identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _without_later(section: type[Section], tree: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        field = section.model_fields.get(key)
        if field is not None and field.json_schema_extra == LATER and value == field.default:
            continue
        inner = field.annotation if field is not None else None
        deeper = isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Section)
        kept[key] = _without_later(inner, value) if deeper else value
    return kept


def optional_keys(section: str) -> set[str]:
    """The keys of a section that its schema gives a value where a file says nothing."""
    fields = Config.model_fields[section].annotation.model_fields
    return {key for key, field in fields.items() if not field.is_required()}


def check(tree: dict[str, Any]) -> Config:
    """A Config from a plain tree. Raises UsageError that names the first wrong key and what it may be."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        code = "unknown-key" if error.errors()[0]["type"] == "extra_forbidden" else "bad-value"
        raise UsageError(_format(error), code=code) from None


def _format(error: ValidationError) -> str:
    """One line for the first wrong key. Kinds that a value may have are told together."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    depth = 2 if len(path) > 1 and path[1] in _keys(path[0]) else 1
    key = ".".join(path if first["type"] == "extra_forbidden" else path[:depth])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}.{nearest_key(key, _all_keys()) or ' configs/default.yaml lists them all.'}"
    same = [e for e in error.errors() if e["loc"][:depth] == first["loc"][:depth]]
    messages = [e["msg"].removeprefix("Value error, ") for e in same]
    reasons = dict.fromkeys(message[:1].lower() + message[1:] for message in messages)
    return f"{key}={first['input']}: {' or '.join(reasons)} (configs/default.yaml tells what it means)"


def _keys(path: str) -> set[str]:
    model: Any = Config
    for part in filter(None, path.split(".")):
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return set(getattr(model, "model_fields", {}))


def _all_keys() -> list[str]:
    tops = Config.model_fields
    return [*tops, *REQUEST_WORDS, *(f"{top}.{key}" for top in tops for key in _keys(top))]
