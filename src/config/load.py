"""How YAML files and `key=value` words become one checked Config.

The values live in configs/: default.yaml holds every key with its meaning, an experiment's file holds what
differs (with `base: OTHER` what differs from configs/OTHER.yaml), and `key=value` on the command line comes last. A
section given as one word is a file of that name in the section's folder: `model=vgg16_bn` reads
configs/model/vgg16_bn.yaml.
"""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.config.schema import Config, check
from src.core.errors import UsageError
from src.core.files import read_settings
from src.core.paths import REPOSITORY, home
from src.core.suggestions import nearest

FILE_SECTIONS = ("model", "augment")
BASE = "base"


def config_file(name: str) -> Path | None:
    """The file of configs/NAME.yaml, the user's folder before the repository's; None where there is none."""
    candidates = [root / "configs" / f"{name}.yaml" for root in (home(), REPOSITORY)]
    return next((path for path in candidates if path.is_file()), None)


def config_names(section: str = "") -> list[str]:
    """The names that config=NAME, or SECTION=NAME, may take; those of experiments in a folder have its name before."""
    folders = [root / "configs" / section for root in (home(), REPOSITORY)]
    files = {path.relative_to(folder).with_suffix("") for folder in folders for path in folder.rglob("*.yaml")}
    others = () if section else (*FILE_SECTIONS, "sweeps")
    return sorted(file.as_posix() for file in files if file.parts[0] not in ("default", *others))


def load(name: str, overrides: dict[str, str], competition: str | None = None) -> Config:
    """configs/default.yaml, then configs/NAME.yaml (its base before it), then the overrides.

    Raises UsageError for an unknown file, key or value, and where NAME belongs to another competition.
    """
    layers = [load_tree(config_file("default")), *experiment_layers(name), from_words(overrides)]
    tree: dict[str, Any] = {}
    for layer in layers:
        tree = merge(tree, layer)
    if competition and tree.get("competition") not in (None, competition):
        raise UsageError(
            f"config={name} is for competition {tree['competition']}, not {competition}: drop one of the two",
            code="config-of-another-competition",
        )
    stages = tree["train"].get("stages") if isinstance(tree["train"], dict) else None
    for stage in stages if isinstance(stages, list) else []:
        if isinstance(stage, dict) and "augment" in stage:
            stage["augment"] = merge({"only": None}, _section("augment", stage["augment"]))
    tree["competition"] = competition or tree.get("competition")
    if tree["competition"] is None:
        raise UsageError(f"config={name} names no competition: add competition=ID", code="no-competition")
    return check(tree)


def given_keys(name: str, overrides: dict[str, str]) -> frozenset[str]:
    """The keys, as section.name, that configs/NAME.yaml and the words set; the others are as default.yaml says."""
    return frozenset(
        f"{section}.{key}" if isinstance(tree, dict) else section
        for layer in (*experiment_layers(name), from_words(overrides))
        for section, tree in layer.items()
        for key in (tree if isinstance(tree, dict) else (section,))
    )


def experiment_layers(name: str) -> list[dict[str, Any]]:
    """configs/NAME.yaml after the file that it names as its base, and so on; none of `default`.

    Raises UsageError where there is no such file, and for a base that leads back to NAME.
    """
    layers: list[dict[str, Any]] = []
    seen: list[str] = []
    while name != "default":
        file = config_file(name)
        if file is None:
            asked = f"base: {name} in configs/{seen[-1]}.yaml" if seen else f"config={name}"
            raise UsageError(
                f"{asked}: there is no configs/{name}.yaml.{nearest(name, config_names())}", code="unknown-config"
            )
        if name in seen:
            raise UsageError(f"base: {' -> '.join([*seen, name])} leads in a circle", code="bad-config-file")
        seen.append(name)
        layer = load_tree(file)
        name = layer.pop(BASE, "default")
        if not isinstance(name, str):
            raise UsageError(f"{file}: base: {name} names no file of configs/", code="bad-config-file")
        layers.insert(0, layer)
    return layers


def load_tree(path: Path) -> dict[str, Any]:
    """One YAML file as a plain tree, sections given as a word read in."""
    layer = read_settings(path)
    return {key: _section(key, value) for key, value in layer.items()}


def from_words(overrides: dict[str, str]) -> dict[str, Any]:
    """The words of the command line as one layer; whole sections first, so that model=X model.stem=Y keeps both."""
    layer: dict[str, Any] = {}
    for key, word in sorted(overrides.items(), key=lambda item: "." in item[0]):
        try:
            value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={word}"]))["value"]
        except (YAMLError, OmegaConfBaseException):
            raise UsageError(
                f"{key}={word}: cannot be read as a value; quote lists as '[a, b]'", code="bad-value"
            ) from None
        parts = key.split(".")
        tree = _section(key, value) if len(parts) == 1 else value
        for part in reversed(parts):
            tree = {part: tree}
        layer = merge(layer, tree)
    return layer


def _section(key: str, value: Any) -> Any:
    if key == "augment" and isinstance(value, list):
        return {"transforms": value}
    if key not in FILE_SECTIONS or not isinstance(value, str):
        return value
    if config_file(f"{key}/{value}") is None:
        raise UsageError(
            f"{key}={value}: there is no configs/{key}/{value}.yaml.{nearest(value, config_names(key))}",
            code="unknown-config",
        )
    return _section(key, read_settings(config_file(f"{key}/{value}"), (dict, list)))


def merge(below: Any, above: Any) -> Any:
    """Sections merge key by key; anything else is replaced whole."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: merge(below.get(key), value) for key, value in above.items()}
    return above
