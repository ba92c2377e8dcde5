"""The probe that a run with a budget begins with: which network, at which size, and its answer."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from src.competition.auto_config import place_of, usual_pool, usual_side, with_values
from src.competition.competition import USUAL_BAG, Competition
from src.competition.plan_record import Facts
from src.config import load as configs
from src.config import run_config
from src.config.image_size import SizeWord
from src.config.request import Request
from src.config.schema import Config, Model, seconds_of
from src.core.console import ProgressReporter, log, silenced
from src.core.errors import Problem
from src.core.paths import Run
from src.experiments.speed_trials import SpeedTrials
from src.inference.pipeline import predict
from src.inference.provenance import facts_of
from src.models.factory import RUN, SINGLE, build, only_size
from src.models.features import without_head
from src.models.weights import published
from src.training.run import result_of, train_within

STRONG = ("convnext_tiny.fb_in22k_ft_in1k", "resnet50.a1_in1k")  # of a GPU, the first whose weights are at hand
SIZES = (288, 224, 160, 128, 96)  # the first at which the probe takes no more than
SHARE, LEAST = 0.3, 20  # of the budget, by torch; seconds, where that is less
ENLARGED = 3  # times a picture's own side, beyond which a probe sees nothing more
TOO_LONG, FREE = 2, 300  # of the budget, by torch, which is the slower engine; seconds, where that is less
SHARED = ("fit", "prepare", "tiles", "bag_size", "slices")  # of images, that the run and its probe have
BEGINS = ("name", "args", "pretrained", "weights", "mean", "std", "channels")  # of model: a network as it begins
SPARE = 1.1  # what a larger probe is expected to take may take so much longer


@dataclass(frozen=True)
class FirstProbe:
    """competition: opened, with nothing left to auto; `usual` is its configuration. seconds_left: of the budget."""

    request: Request
    competition: Competition
    usual: Config
    trials: SpeedTrials
    seconds_left: Callable[[], float]

    @property
    def config(self) -> Config:
        return self.request.config

    @property
    def total(self) -> int:
        return seconds_of(self.config.budget)

    def fitted(self) -> Facts | None:
        """What is told of it; None where no network or kind of target has one."""
        networks = self.networks
        if not networks or not self.competition.target.usual_probes:
            asked = "model.pretrained=false" if self.config.model.pretrained is False else "no weights are at hand"
            reason = "this kind of target has no heads for it" if networks else asked
            log.info(f"no probe first: {reason}")
            return None
        configs_in_turn = (self._probe_config(one, must=one is networks[-1]) for one in networks)
        config = next(filter(None, configs_in_turn))
        if self.config.model.name != "auto" and config.model.name != self.usual.model.name:
            log.info(f"the probe takes {config.model.name}, not {self.usual.model.name}: its weights cannot be probed")
        return self._run(config, f"{self.request.run}-probe")

    def _run(self, config: Config, run: str) -> Facts:
        """A probe of this configuration, its folds fitted, its answer handed in, and its score told."""
        request = replace(
            self.request,
            config=config,
            run=run,
            seeds=self.request.seeds[:1],
            flags={"--tta": ""},
        )
        with silenced(), ProgressReporter(what="probe") as terminal:
            train_within(request, terminal)
        name = config.model.name
        facts: Facts = {"run": request.run, "network": name, "size": config.images.size, "file": None}
        if self.competition.card.submission:
            with silenced():
                file = predict(request)
            made = facts_of(file, request.competition)
            facts |= {"file": str(file), **made["score"]}
        if facts.get("value") is None:
            facts |= {"value": result_of(request)["mean_score"], "low": None, "high": None}
        interval = f" ({facts['low']:.4f} to {facts['high']:.4f})" if facts["low"] is not None else ""
        there = f"; its answer is there: {facts['file']}" if facts["file"] else ""
        log.info(
            f"the probe, {name} frozen at {config.images.size} px: {self.competition.metric.name} "
            f"{facts['value']:.4f}{interval} out of fold after {self.total - self.seconds_left():.0f} s{there}"
        )
        return facts

    def larger(self, first: Facts, seconds: float, room: float) -> Facts:
        """The same on larger pictures, the largest that `room` seconds allow where the first took so many; of the two
        what scores better out of fold. Itself where no larger one fits."""
        size = larger_size(first["size"], ENLARGED * usual_side(self.competition.samples), seconds, room)
        begun = run_config.read(Run(self.request.competition, first["run"]).folder)
        if size is None or self._only_size(begun.model, size):
            return first
        values = {"images.size": size, "images.load_size": size}
        found = self._run(with_values(begun, values), f"{first['run']}-{size}")
        higher = self.competition.metric.higher_is_better
        return found if (found["value"] > first["value"]) == higher and found["value"] != first["value"] else first

    @cached_property
    def named(self) -> Model | None:
        """The network that is named, with the weights that it begins with; None where none is named, or it has none.

        One that goes on from another run of ours is trained as that was.
        """
        asked, own = self.config.model, self.usual.model
        if asked.name == "auto" or (own.weights or "").startswith(RUN):
            return None
        if own.weights:
            return own
        known = asked.pretrained is not False and published(own.name)
        return own.model_copy(update={"pretrained": True}) if known else None

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        """{key of model: value} of each whose weights the probe may take: the network that is named, if it can, or a
        stronger one on a GPU; then the recipe's."""
        if self.config.model.pretrained is False:
            return []
        found: list[dict[str, Any]] = []
        if self._can_be_probed():
            found.append({f"model.{key}": getattr(self.named, key) for key in BEGINS})
        elif place_of(self.config.machine.device) == "gpu":
            found += [_with_published_weights(name) for name in STRONG if published(name)][:1]
        last = _with_published_weights(network_of("probe"))
        known = [(one["model.name"], one.get("model.weights")) for one in found]
        return found + [last] * ((last["model.name"], None) not in known and published(last["model.name"]) is not None)

    def _can_be_probed(self) -> bool:
        """Whether a network is named that begins with weights and has one linear layer at its end."""
        if self.named is None:
            return False
        try:
            size, classes = self.usual.images.size, len(self.competition.samples.classes)
            without_head(build(self.named, classes, size, self.competition.target, load=False))
        except Problem:
            return False
        return True

    def _only_size(self, model: Model, other: SizeWord) -> int | None:
        return only_size(model, len(self.competition.samples.classes), other)

    def _probe_config(self, network: dict[str, Any], must: bool) -> Config | None:
        """The probe on this network, at the largest size that fits. None where it takes too long and need not be;
        raises Problem where it must."""
        config = configs.load("probe", {}, self.request.competition)
        same = ("machine", "predict", "log")  # and the same rows, folds and pictures
        config = config.model_copy(update={section: getattr(self.usual, section) for section in same})
        values, name = dict(network), network["model.name"]
        values |= {f"data.{key}": value for key, value in self.usual.data.model_dump().items() if "sampler" not in key}
        values |= {f"images.{key}": getattr(self.usual.images, key) for key in SHARED}
        values["model.bag"] = USUAL_BAG if self.usual.images.bag_size else SINGLE
        config = with_values(config, values)
        config = with_values(config, {"model.pool": usual_pool(config.model)})
        earlier = Run(self.request.competition, f"{self.request.run}-probe")
        if run_config.is_stored(earlier):  # by a command that was killed
            begun = run_config.read(earlier.folder)
            kept = {f"images.{key}": getattr(begun.images, key) for key in ("size", "load_size")}
            return with_values(config, kept | {f"model.{key}": getattr(begun.model, key) for key in (*BEGINS, "pool")})
        views = {*config.probe.views, *config.predict.views}
        passes = len(views) * (len(self.competition.samples.train) + len(self.competition.samples.test))
        most = max(LEAST, SHARE * self.total)
        widest = ENLARGED * usual_side(self.competition.samples)
        only = self._only_size(config.model, SIZES[-1])
        sizes, full = ((only,), only) if only else (SIZES, config.images.size)
        tried = next((one for one in sizes if one <= min(widest, full)), sizes[-1])
        seconds = self.trials.answer_seconds(with_values(config, {"images.size": tried}))
        seconds /= self.trials.share(config).jobs
        expected = {size: passes * seconds * (size / tried) ** 2 for size in sizes if size <= full}
        size = next((one for one in expected if one <= widest and expected[one] <= most), sizes[-1])
        if not must and expected[size] > most:
            log.info(f"the probe takes another network: {name} would take {expected[size] / 60:.0f} minutes for it")
            return None
        if expected[size] > TOO_LONG * max(self.total, FREE):
            raise Problem(
                f"budget={self.config.budget}: {name} would take about {expected[size] / 60:.0f} minutes to see the "
                f"{passes} views of the pictures: give budget={math.ceil(expected[size] / 60)}m, or "
                f"model.pretrained=false, which trains what fits from scratch",
                code="budget-too-short",
            )
        return with_values(config, {"images.size": size, "images.load_size": size})


def larger_size(size: int, widest: int, seconds: float, room: float) -> int | None:
    """The largest size of a probe up to `widest` that takes no more than `room` seconds, where one at `size` took so
    many; None where none is larger."""
    fitting = (one for one in SIZES if size < one <= widest and SPARE * seconds * (one / size) ** 2 <= room)
    return next(fitting, None)


def _with_published_weights(name: str) -> dict[str, Any]:
    return {"model.name": name, "model.pretrained": True}


def network_of(name: str) -> str:
    """That configs/NAME.yaml names."""
    return configs.load_tree(configs.config_file(name))["model"]["name"]
