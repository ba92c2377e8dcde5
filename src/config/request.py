"""What key=value words ask for: which run or runs of which competition, under which configuration, which folds."""

import glob
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from src.config import load as configs
from src.config import run_config
from src.config.schema import FREE_SECTIONS, REQUEST_WORDS, Config
from src.core.cli import Command, key_values
from src.core.errors import UsageError
from src.core.paths import home
from src.core.suggestions import nearest

DEMO = "demo-digits"
UNTUNED = "auto"  # the configuration of a competition that is named without one
ALL = "all"  # the fold that trains on every row
Fold = int | str


@dataclass(frozen=True)
class Request:
    """What a command asks for. `folds` is None where the command line does not name any.

    Of several runs (`runs=a,b`) `runs` holds the names and `configs` a configuration each; `run` is then the name of
    the whole, `config` that of the first run, and `seeds` is empty where the command line does not name any.
    """

    config: Config
    run: str
    folds: tuple[Fold, ...] | None
    seeds: tuple[int, ...]
    flags: dict[str, str]
    runs: tuple[str, ...] = ()
    configs: tuple[Config, ...] = ()
    given: frozenset[str] = frozenset()  # the keys of a new run that are not left as configs/default.yaml has them

    @property
    def competition(self) -> str:
        return self.config.competition

    @property
    def members(self) -> list[tuple[int, Fold]]:
        """(seed, fold) of all that is to be trained, in this order. Folds that nobody names are all there are."""
        data = self.config.data
        folds = self.folds or range(1 if data.validation == "host" else data.folds)
        return [(seed, fold) for seed in self.seeds for fold in folds]


def add_run(command: Command, folds: str, names_run: bool = True) -> None:
    """The words that say which run is meant, for --help. folds: what fold= means to this command."""
    command.key("config=NAME", "configs/NAME.yaml; without config=, competition= and run= the embedded demo")
    command.key("competition=ID", "a folder of competition/, with what is auto chosen for its images")
    if names_run:
        command.key("run=NAME", "a run's name, in place of the one made of the configuration's")
    command.key("fold=0..4", folds)
    command.key("seed=0,1,2", "0 where none is given")
    command.key("key=value", "any key of configs/default.yaml, for example model=resnet50 optim.lr=1e-3")


def parse(words: Collection[str], several_runs: bool = False) -> Request:
    """The request of words that are all key=value, in code as on the command line."""
    return request_of(key_values(words), several_runs=several_runs)


def request_of(keys: dict[str, str], flags: dict[str, str] | None = None, several_runs: bool = False) -> Request:
    """What key=value words ask for. Raises UsageError with one line for anything that is not understood.

    several_runs: whether the command understands runs=a,b.
    """
    words, given_flags = dict(keys), flags or {}
    picked = {key: words.pop(key, None) for key in REQUEST_WORDS}
    run, competition = picked["run"], picked["competition"]
    if picked["runs"] is not None:
        if not several_runs:
            raise UsageError(
                f"runs={picked['runs']}: only src.predict and src.report take several runs; name one, run=NAME",
                code="one-run-only",
            )
        return _joint(picked, words, given_flags)
    if run is not None:
        _check_name("run", run)
    if run and not picked["config"] and not (competition and not _configs_of(run, competition)):
        config, given = _config_of(run, competition, words), frozenset()
    else:
        name = picked["config"] or (UNTUNED if competition else DEMO)
        config = _without_idle_budget(configs.load(name, words, competition), name, words)
        run, given = run or default_run(name, words), configs.given_keys("default" if name == UNTUNED else name, words)
    folds, seeds = _folds(picked["fold"], config.data.folds), _seeds(picked["seed"])
    return Request(config, run, folds, seeds, given_flags, given=given)


def _without_idle_budget(config: Config, name: str, overrides: dict[str, str]) -> Config:
    """Where the words say how long to train, the time of ten minutes that auto.yaml gives by itself is not meant."""
    fixed = config.train.epochs != "auto" or config.train.stages or not config.probe.off
    if name == UNTUNED and "budget" not in overrides and fixed:
        return config.model_copy(update={"budget": None})
    return config


def default_run(config: str, overrides: dict[str, str]) -> str:
    """The config's name plus the sorted overrides that decide what is learned, fit for a folder's name."""
    text = [f"{key}={value}" for key, value in sorted(overrides.items()) if key.split(".")[0] not in FREE_SECTIONS]
    return _short(re.sub(r"[^\w.=+-]+", "-", "+".join([config, *text])))


def _short(name: str) -> str:
    if len(name) > 80:
        name = f"{name[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def _check_name(key: str, run: str) -> None:
    if not re.fullmatch(r"\w[\w.+=-]*", run):
        raise UsageError(f"{key}={run}: a run's name holds letters, digits and . _ - + = only", code="bad-name")


def _config_of(run: str, competition: str | None, overrides: dict[str, str]) -> Config:
    """The configuration that an existing run was made with; the free sections may be set anew."""
    found = _configs_of(run, competition)
    if not found:
        raise UsageError(
            f"run={run}: there is no such run yet. To begin one, add config=NAME or competition=ID", code="unknown-run"
        )
    if len(found) > 1:
        names = ", ".join(path.parent.parent.name for path in found)
        raise UsageError(
            f"run={run} exists in several competitions ({names}): add competition=ID",
            code="run-in-several-competitions",
        )
    return run_config.read(found[0].parent, configs.from_words(overrides))


def _configs_of(run: str, competition: str | None) -> list[Path]:
    return sorted((home() / "runs").glob(f"{competition or '*'}/{glob.escape(run)}/config.yaml"))


def _joint(picked: dict[str, str | None], overrides: dict[str, str], flags: dict[str, str]) -> Request:
    """Several runs of one competition. Those that were trained elsewhere have no configuration, and take the first
    one's of those that have."""
    runs = _run_names(picked)
    competition = _competition_of(runs, picked["competition"])
    own = {run: _config_of(run, competition, overrides) for run in runs if _configs_of(run, competition)}
    first = next(iter(own.values()), None) or configs.load("default", overrides, competition)
    seeds = _seeds(picked["seed"]) if picked["seed"] else ()
    folds = _folds(picked["fold"], first.data.folds)
    each = tuple(own.get(run, first) for run in runs)
    return Request(each[0], _joint_name(competition, runs), folds, seeds, flags, runs, each)


def _joint_name(competition: str, runs: tuple[str, ...]) -> str:
    """Fit for files. A run that bears this name already keeps it."""
    name = "+".join(runs)
    taken = (home() / "runs" / competition / _short(name) / "run.json").exists()
    return _short(name) if not taken else f"{name[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _run_names(picked: dict[str, str | None]) -> tuple[str, ...]:
    word = picked["runs"]
    runs = tuple(part.strip() for part in word.removeprefix("[").removesuffix("]").split(","))
    for key in ("run", "config"):
        if picked[key]:
            raise UsageError(
                f"runs={word} and {key}={picked[key]}: each of several runs brings its own configuration and name; "
                f"leave {key}= out",
                code="runs-and-run",
            )
    for run in runs:
        _check_name("runs", run)
    if len(set(runs)) < len(runs):
        raise UsageError(f"runs={word}: each run once", code="given-twice")
    if len(runs) == 1:
        raise UsageError(
            f"runs={word} names one run, and to join takes two: write run={runs[0]} for it alone", code="one-run-only"
        )
    return runs


def _competition_of(runs: tuple[str, ...], competition: str | None) -> str:
    """The competition in which all these runs lie. Raises UsageError where there is none, or more than one."""
    made = [path.parent for path in (home() / "runs").glob(f"{competition or '*'}/*/run.json")]
    homes = {run: sorted(folder.parent.name for folder in made if folder.name == run) for run in runs}
    for run, places in homes.items():
        if not places:
            near = nearest(run, sorted({folder.name for folder in made}))
            raise UsageError(
                f"runs: there is no run {run}{f' of {competition}' if competition else ''}.{near}", code="unknown-run"
            )
    shared = sorted(set.intersection(*(set(places) for places in homes.values())))
    if not shared:
        text = ", ".join(f"{run} of {' and '.join(places)}" for run, places in homes.items())
        raise UsageError(
            f"runs: only runs of one competition can be joined, and these are {text}", code="other-competitions"
        )
    if len(shared) > 1:
        raise UsageError(
            f"runs: {', '.join(runs)} exist in several competitions ({', '.join(shared)}): add competition=ID",
            code="run-in-several-competitions",
        )
    return shared[0]


def _folds(word: str | None, count: int) -> tuple[Fold, ...] | None:
    if word is None:
        return None
    if word == ALL:
        return (ALL,)
    if not re.fullmatch(r"\d+(\.\.\d+)?(,\d+(\.\.\d+)?)*", word):
        raise UsageError(f"fold={word}: write 0, 0,2, 0..{count - 1} or all", code="bad-fold")
    folds: list[int] = []
    for part in word.split(","):
        first, _, last = part.partition("..")
        if last and int(last) < int(first):
            raise UsageError(f"fold={word}: write ranges upwards, {last}..{first}", code="bad-fold")
        folds += range(int(first), int(last or first) + 1)
    wrong = [fold for fold in folds if fold >= count]
    if wrong or len(set(folds)) < len(folds):
        raise UsageError(f"fold={word}: folds are 0 to {count - 1}, each once (data.folds={count})", code="bad-fold")
    return tuple(folds)


def _seeds(word: str | None) -> tuple[int, ...]:
    if word is None:
        return (0,)
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", word) or len(set(word.split(","))) < len(word.split(",")):
        raise UsageError(f"seed={word}: write one or more different numbers, for example seed=0,1,2", code="bad-seed")
    return tuple(int(part) for part in word.split(","))
