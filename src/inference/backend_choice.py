"""Which engine answers a command: as the run was trained, the one that is named, or the fastest that answers alike.

The choice is kept beside the run, in engines/<hash of all that it depends on>.json.
"""

from dataclasses import asdict
from pathlib import Path

import torch

from src.core.files import DamagedFile, read_json, write_json
from src.inference.backends import BACKENDS, TORCH
from src.inference.backends.networks import EngineNetworks, hashed, processor
from src.inference.backends.parity import EACH, MOST, Trial
from src.inference.backends.selection import AUTO, Choice, choose
from src.inference.members import ViewTables
from src.inference.trained_networks import Member
from src.inference.tta import PLAIN

PAYS = 120  # seconds of torch below which a measurement of engines costs more than it saves
TIMES = 20  # and so many times what is measured must be left to compute


def use_engine(
    tables: ViewTables, members: list[Member], wanted: dict[str, tuple[str, ...]], views: tuple[str, ...]
) -> None:
    """Let `tables` be computed by the engine that the configuration asks for; a choice is told in one line.

    wanted: {part: views} to be computed. views: those whose mean is the answer. Raises UsageError, with the remedy, for
    an engine that is not to be had here, Problem for one that does not answer as torch does.
    """
    networks, asked = tables.networks, tables.opened.config.predict
    free = asked.engine == asked.precision == AUTO
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
    tables.say(str(choice))
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
    predict = networks.opened.config.predict
    models = [[member.seed, member.fold, networks.weights(member)] for member in members]
    facts = [models, views, networks.size, networks.opened.images_hash, networks.opened.folds.hash]
    facts += [predict.engine, predict.precision, predict.tolerance, predict.batch]
    facts += [[name, backend().versions(), BACKENDS.origin(name)] for name, backend in BACKENDS.items()]
    return networks.run.folder / "engines" / f"{hashed([*facts, processor(), torch.get_num_threads()])}.json"


def _kept(file: Path) -> Choice | None:
    """The choice in `file`; None where there is none, or it cannot be read: it is measured again."""
    try:
        return Choice.from_json(read_json(file))
    except (DamagedFile, ValueError, KeyError, TypeError):
        return None
