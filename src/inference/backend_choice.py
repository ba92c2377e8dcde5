"""Which engine answers a command: as the run was trained, the one that is named, or the fastest that answers alike.

An engine is held to what torch says in fp32 of images that a model has not seen: its own held-out rows. No label is
looked at. The choice is kept beside the run, in engines/<hash of all that it depends on>.json.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from src.core.console import note
from src.core.errors import Problem, UsageError
from src.core.files import DamagedFile, read_json, write_json
from src.inference.backend_networks import EngineNetworks, hashed, processor
from src.inference.backend_parity import EACH, MOST, ROUNDS, Agreement, Trial
from src.inference.backends import BACKENDS, TORCH, Backend, Engine
from src.inference.members import ViewTables
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN

AUTO = "auto"
PAYS = 120  # seconds of torch below which a measurement of engines costs more than it saves
TIMES = 20  # and so many times what is measured must be left to compute


@dataclass(frozen=True)
class Choice:
    """images_per_second: of the engine and of torch in fp32, in one view of one model. left_out: what and why."""

    engine: Engine
    images_per_second: tuple[float, float]
    agreement: Agreement
    left_out: tuple[str, ...] = ()

    def tell(self) -> None:
        own, torchs = self.images_per_second
        text = f"engine: {self.engine}, {own / torchs:.1f} times torch fp32 ({own:.0f} against {torchs:.0f} images/s)"
        note("engine-chosen", f"{text}; {self.agreement}")
        for left_out in self.left_out:
            note("engine-left-out", f"  {left_out}")

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Choice":
        agreement, speeds = Agreement(**tree["agreement"]), tuple(tree["images_per_second"])
        return cls(Engine(**tree["engine"]), speeds, agreement, tuple(tree["left_out"]))


def use_engine(
    tables: ViewTables, members: list[Member], wanted: dict[str, tuple[str, ...]], views: tuple[str, ...]
) -> None:
    """Let `tables` be computed by the engine that the configuration asks for; a choice is told in one line.

    wanted: {part: views} to be computed. views: those whose mean is the answer. Raises UsageError, with the remedy, for
    an engine that is not to be had here, Problem for one that does not answer as torch does.
    """
    networks, asked = tables.networks, tables.competition.config.predict
    free = asked.engine == asked.precision == AUTO
    if tables.competition.cells is not None:
        if asked.engine != TORCH and not free:
            raise UsageError(
                f"predict.engine={asked.engine} is given pictures alone, and this network sees columns beside them: "
                "give predict.engine=torch, or leave engine and precision out",
                code="engine-metadata",
            )
        if free:
            return
    as_trained = asked.engine == TORCH and asked.precision in (AUTO, networks.usual.precision)
    if as_trained or (free and networks.usual.device != "cpu"):
        return
    file = _file(networks, members, views)
    choice = _kept(file)
    if choice is None:
        passes = _passes(tables, members, wanted)
        asked_images = passes // (TIMES * len(views))
        if free and (asked_images < EACH * len(members) or passes * _seconds(tables, members[0]) < PAYS):
            return
        choice = choose(networks, members, views, min(MOST, asked_images) if free else MOST)
        write_json(file, asdict(choice))
    choice.tell()
    tables.use(choice.engine)


def _passes(tables: ViewTables, members: list[Member], wanted: dict[str, tuple[str, ...]]) -> int:
    """The images times views that the run's own engine has not answered yet."""
    missing = [tables.missing(members, views, (part,)) for part, views in wanted.items()]
    return sum(len(tables.networks.rows(*key)) * len(views) for part in missing for key, views in part.items())


def _seconds(tables: ViewTables, member: Member) -> float:
    """Of the run's own engine, for one pass, as a few images tell."""
    ready = {tables.engine: tables.networks.ready(member, tables.engine)}
    return Trial(tables.networks, [member], PLAIN, EACH).seconds(ready, rounds=1)[tables.engine]


def _file(networks: EngineNetworks, members: list[Member], views: tuple[str, ...]) -> Path:
    """Named by all that a choice depends on, so that a changed weight, processor or package makes another."""
    predict = networks.competition.config.predict
    models = [[member.seed, member.fold, networks.weights(member)] for member in members]
    facts = [models, views, networks.size, networks.competition.images_hash, networks.competition.folds.hash]
    facts += [predict.engine, predict.precision, predict.tolerance, predict.batch]
    facts += [[name, backend().versions(), BACKENDS.origin(name)] for name, backend in BACKENDS.items()]
    return networks.run.folder / "engines" / f"{hashed([*facts, processor(), torch.get_num_threads()])}.json"


def _kept(file: Path) -> Choice | None:
    """The choice in `file`; None where there is none, or it cannot be read: it is measured again."""
    try:
        return Choice.from_json(read_json(file))
    except (DamagedFile, ValueError, KeyError, TypeError):
        return None


def candidates(networks: EngineNetworks) -> tuple[list[Engine], list[str]]:
    """The engines that the configuration allows and this machine has, and why others are left out.

    Raises UsageError where that leaves none.
    """
    asked, device, possible, left_out = networks.competition.config.predict, networks.usual.device, [], []
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
        text = "; ".join(left_out) or "none of the backends knows this precision on this device"
        raise UsageError(f"{asked_for(networks)} cannot be had here: {text}", code="backend-unavailable")
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
            agreement = trial.agreement(engine, networks.competition.config.predict.tolerance)
        except Problem as problem:  # what took the first member's network may not take another's
            refused.append(f"not {engine}: {problem}")
            continue
        if agreement.kept:
            return Choice(engine, (1 / seconds[engine], 1 / seconds[trial.reference]), agreement, tuple(refused))
        refused.append(f"not {engine}: {agreement}")
    raise Problem(
        f"{asked_for(networks)}: {'; '.join(refused)}. Allow more with predict.tolerance=, or name another precision",
        code="logits-differ",
    )


def asked_for(networks: EngineNetworks) -> str:
    """The keys that name an engine, as they stand."""
    asked = networks.competition.config.predict
    return f"predict.engine={asked.engine} predict.precision={asked.precision}"


def _lacking(backend: Backend, device: str, precision: str) -> str | None:
    if device not in backend.devices:
        return f"it runs on {' and '.join(backend.devices)}, and this run is predicted on {device}"
    return backend.lacking(device, precision)
