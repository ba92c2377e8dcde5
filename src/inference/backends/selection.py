"""Of several engines the fastest that answers alike.

An engine is held to what torch says in fp32 of images that a model has not seen: its own held-out rows. No label is
looked at.
"""

from dataclasses import dataclass
from typing import Any

from src.core.errors import Problem, UsageError
from src.inference.backends import BACKENDS, Backend, Engine
from src.inference.backends.networks import EngineNetworks
from src.inference.backends.parity import MOST, ROUNDS, Agreement, Trial
from src.inference.trained_networks import Member

AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """images_per_second: of the engine and of torch in fp32, in one view of one model. left_out: what and why."""

    engine: Engine
    images_per_second: tuple[float, float]
    agreement: Agreement
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        own, torchs = self.images_per_second
        told = f"engine: {self.engine}, {own / torchs:.1f} times torch fp32 ({own:.0f} against {torchs:.0f} images/s)"
        return "; ".join((f"{told}; {self.agreement}", *self.left_out))

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Choice":
        agreement, speeds = Agreement(**tree["agreement"]), tuple(tree["images_per_second"])
        return cls(Engine(**tree["engine"]), speeds, agreement, tuple(tree["left_out"]))


def candidates(networks: EngineNetworks) -> tuple[list[Engine], list[str]]:
    """The engines that the configuration allows and this machine has, and why others are left out.

    Raises UsageError where that leaves none.
    """
    asked, device, possible, left_out = networks.opened.config.predict, networks.usual.device, [], []
    for name, backend in BACKENDS.items():
        if asked.engine not in (AUTO, name) or (asked.engine == AUTO and device not in backend.devices):
            continue
        for precision in backend.precisions:
            if asked.precision not in (AUTO, precision):
                continue
            reason = _lacking(backend(), device, precision)
            if reason:
                left_out.append(f"no {name} {precision}: {reason}")
            else:
                possible.append(Engine(device, precision, name))
    if not possible:
        told = "; ".join(left_out) or f"{asked.engine} can {' and '.join(BACKENDS.get(asked.engine).precisions)}"
        raise UsageError(f"{asked_for(networks)} cannot be had here: {told}")
    return possible, left_out


def choose(networks: EngineNetworks, members: list[Member], views: tuple[str, ...], most: int = MOST) -> Choice:
    """The fastest candidate that keeps predict.tolerance in every member, measured on `most` images of all together.

    Raises Problem where none keeps it, or none can run the network.
    """
    possible, refused = candidates(networks)
    trial, ready = Trial(networks, members, views, most), {}
    for engine in dict.fromkeys((trial.reference, *possible)):
        try:
            network = networks.ready(members[0], engine)
            trial.seconds({engine: network}, rounds=1)  # it may be made ready and then fail
            ready[engine] = network
        except Problem as problem:
            refused.append(f"not {engine}: {problem}")
    seconds = trial.seconds(ready, ROUNDS if len(ready) > 2 else 2)  # of one candidate, its speed is only told
    for engine in sorted(set(possible) & set(ready), key=seconds.__getitem__):
        try:
            agreement = trial.agreement(engine, networks.opened.config.predict.tolerance)
        except Problem as problem:  # what took the first member's network may not take another's
            refused.append(f"not {engine}: {problem}")
            continue
        if agreement.kept:
            return Choice(engine, (1 / seconds[engine], 1 / seconds[trial.reference]), agreement, tuple(refused))
        refused.append(f"not {engine}: {agreement}")
    raise Problem(
        f"{asked_for(networks)}: {'; '.join(refused)}. Allow more with predict.tolerance=, or name another precision"
    )


def asked_for(networks: EngineNetworks) -> str:
    """The keys that name an engine, as they stand."""
    asked = networks.opened.config.predict
    return f"predict.engine={asked.engine} predict.precision={asked.precision}"


def _lacking(backend: Backend, device: str, precision: str) -> str | None:
    if device not in backend.devices:
        return f"it runs on {' and '.join(backend.devices)}, and this run is predicted on {device}"
    return backend.lacking(device, precision)
