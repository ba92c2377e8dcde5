"""The command line that every door shares: `key=value` words and `--flags` become one Request."""

import glob
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from src import config as configs
from src.errors import UsageError
from src.runs import home
from src.schema import FREE_SECTIONS, Config, check

DEMO = "demo-digits"
UNTUNED = "auto"  # the configuration of a competition that is named without one
ALL = "all"  # the fold that trains on every row
Fold = int | str


@dataclass(frozen=True)
class Request:
    """What a command asks for. `folds` is None where the command line does not name any."""

    config: Config
    run: str
    folds: tuple[Fold, ...] | None
    seeds: tuple[int, ...]
    flags: dict[str, str]

    @property
    def competition(self) -> str:
        return self.config.competition


def parse(argv: list[str], flags: tuple[str, ...] = ()) -> Request:
    """Read the words of one command. Raises UsageError with one line for anything that is not understood."""
    given_flags, words = _split(argv, flags)
    picked = {key: words.pop(key, None) for key in ("config", "competition", "run", "fold", "seed")}
    run, competition = picked["run"], picked["competition"]
    if run is not None and not re.fullmatch(r"\w[\w.+=-]*", run):
        raise UsageError(f"run={run}: a run's name holds letters, digits and . _ - + = only")
    if run and not picked["config"] and not (competition and not _configs_of(run, competition)):
        config = _config_of(run, competition, words)
    else:
        name = picked["config"] or (UNTUNED if competition else DEMO)
        config = configs.load(name, words, competition)
        run = run or default_run(name, words)
    return Request(config, run, _folds(picked["fold"], config.data.folds), _seeds(picked["seed"]), given_flags)


def default_run(config: str, overrides: dict[str, str]) -> str:
    """The config's name plus the sorted overrides that decide what is learned, fit for a folder's name."""
    told = [f"{key}={value}" for key, value in sorted(overrides.items()) if key.split(".")[0] not in FREE_SECTIONS]
    name = re.sub(r"[^\w.=+-]+", "-", "+".join([config, *told]))
    if len(name) > 80:
        name = f"{name[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def _split(argv: list[str], allowed: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    flags: dict[str, str] = {}
    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if word.startswith("-"):
            if key not in allowed:
                known = f" Known here: {', '.join(allowed)}." if allowed else " This command has no flags but --help."
                raise UsageError(f"unknown flag {key}.{known}")
            flags[key] = value
        elif not equals or not key or not value:
            raise UsageError(f"{word!r} is not understood: write key=value, for example fold=0..4")
        elif key in words:
            raise UsageError(f"{key} is given twice")
        else:
            words[key] = value
    return flags, words


def _config_of(run: str, competition: str | None, overrides: dict[str, str]) -> Config:
    """The configuration that an existing run was made with; the free sections may be set anew."""
    found = _configs_of(run, competition)
    if not found:
        raise UsageError(f"run={run}: there is no such run yet. To begin one, add config=NAME or competition=ID")
    if len(found) > 1:
        names = ", ".join(path.parent.parent.name for path in found)
        raise UsageError(f"run={run} exists in several competitions ({names}): add competition=ID")
    return check(configs.merge(configs.load_tree(found[0]), configs.from_words(overrides)))


def _configs_of(run: str, competition: str | None) -> list[Path]:
    return sorted((home() / "runs").glob(f"{competition or '*'}/{glob.escape(run)}/config.yaml"))


def _folds(word: str | None, count: int) -> tuple[Fold, ...] | None:
    if word is None:
        return None
    if word == ALL:
        return (ALL,)
    if not re.fullmatch(r"\d+(\.\.\d+)?(,\d+(\.\.\d+)?)*", word):
        raise UsageError(f"fold={word}: write 0, 0,2, 0..{count - 1} or all")
    folds: list[int] = []
    for part in word.split(","):
        first, _, last = part.partition("..")
        if last and int(last) < int(first):
            raise UsageError(f"fold={word}: write ranges upwards, {last}..{first}")
        folds += range(int(first), int(last or first) + 1)
    wrong = [fold for fold in folds if fold >= count]
    if wrong or len(set(folds)) < len(folds):
        raise UsageError(f"fold={word}: folds are 0 to {count - 1}, each once (data.folds={count})")
    return tuple(folds)


def _seeds(word: str | None) -> tuple[int, ...]:
    if word is None:
        return (0,)
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", word) or len(set(word.split(","))) < len(word.split(",")):
        raise UsageError(f"seed={word}: write one or more different numbers, for example seed=0,1,2")
    return tuple(int(part) for part in word.split(","))
