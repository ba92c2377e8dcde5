"""timm's hub: what its cache on this machine holds, what can be fetched into it, and the networks that it describes.

Nothing here waits long: a hub that does not answer, or sends next to nothing, is given up within ten seconds. Of a
repository only JSON and tensors are read; no code of it runs.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.core.console import note
from src.core.errors import Problem, UsageError
from src.core.suggestions import nearest

HUB = "hf-hub:"  # model.name=hf-hub:owner/name, or the weights alone: model.weights=hf-hub:owner/name
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there is taken
CONFIG, CARD = "config.json", "README.md"
PATIENCE = 4.0  # seconds within which the hub must answer, and within which it must send
SLOWEST = 20_000  # bytes a second; below it a download would not end
# What a repository may not decide: it is asked for by other keys, or reads files.
NOT_ITS_OWN = ("num_classes", "in_chans", "img_size", "drop_rate", "pretrained", "checkpoint_path", "cache_dir")
NOT_ITS_OWN += ("pretrained_cfg", "pretrained_cfg_overlay", "features_only", "device", "dtype", "pruned")
KNOCK = """
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD")).close()
except urllib.error.HTTPError:
    pass  # any answer is an answer
except Exception:
    sys.exit(1)
"""
FETCH = """
import sys
from huggingface_hub import hf_hub_download
print("ready", flush=True)
from huggingface_hub.utils import EntryNotFoundError
for file in sys.argv[3:]:
    try:
        hf_hub_download(sys.argv[1], file, revision=sys.argv[2] or None)
        break
    except EntryNotFoundError:
        pass
try:
    hf_hub_download(sys.argv[1], "README.md", revision=sys.argv[2] or None)  # it tells the licence
except Exception:
    pass
"""


@dataclass(frozen=True)
class HubNetwork:
    """What timm needs to know of a network of the hub. mean, std: of its normalisation; None: as timm's own."""

    architecture: str
    args: dict[str, Any]
    mean: list[float] | None
    std: list[float] | None
    licence: str


def hub_network(word: str) -> HubNetwork:
    """The network that `hf-hub:owner/name` or `hf-hub:owner/name@revision` names.

    Raises UsageError where it is none of timm's, Problem where its description cannot be had or read.
    """
    import timm

    repository = word.removeprefix(HUB)
    file = obtained(repository, (CONFIG,))
    if file is None:
        raise unreachable(word, "the hub does not answer, or has no such network")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        inner = told.get("pretrained_cfg", told)
        architecture, args = str(told["architecture"]), dict(told.get("model_args") or {})
        mean, std = (_three(inner.get(key)) for key in ("mean", "std"))
        licence = str(inner.get("license") or _licence_of_card(repository))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(
            f"{word} is no network for timm: its {CONFIG} cannot be read ({type(error).__name__})",
            code="bad-hub-network",
        ) from None
    if not timm.is_model(architecture):
        raise UsageError(
            f"{word} is a network called {architecture}, which timm does not know."
            f"{nearest(architecture, timm.list_models())}",
            code="unknown-network",
        )
    kept = {key: value for key, value in args.items() if key not in NOT_ITS_OWN and _is_plain(value)}
    own = timm.get_pretrained_cfg(architecture)
    same = own is not None and mean in (None, list(own.mean)) and std in (None, list(own.std))
    return HubNetwork(architecture, kept, None if same else mean, None if same else std, licence)


def obtained(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of the files `names` of `owner/name[@revision]`: in the hub's cache, else fetched into it.

    None where there is none, where HF_HUB_OFFLINE is set, and where the hub does not answer or hardly sends.
    """
    from huggingface_hub import constants

    found = cached(repository, names)
    hub = constants.ENDPOINT
    if found or constants.HF_HUB_OFFLINE or hub in _given_up or not _answers(hub, repository, names[0]):
        return found
    if names == WEIGHTS:
        note("weights-fetched", f"fetching the weights of {repository} from timm's hub")
    if not _fetch(constants.HF_HUB_CACHE, repository, names):
        _given_up.add(hub)
    return cached(repository, names)  # a hub that hangs after them has sent them


def cached(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of these files that the hub's cache on this machine holds."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    owner_name, _, revision = repository.partition("@")
    try:
        found = [try_to_load_from_cache(owner_name, name, revision=revision or None) for name in names]
    except HFValidationError:
        raise UsageError(f"{HUB}{repository}: write {HUB}OWNER/NAME", code="bad-value") from None
    return next((Path(file) for file in found if isinstance(file, str)), None)


def unreachable(what: str, reason: str) -> Problem:
    """what: the network, or `hf-hub:owner/name`, whose kind only the hub knows."""
    from huggingface_hub import constants

    remedy = "Either connect to the network once"
    if constants.HF_HUB_OFFLINE:
        reason, remedy = "HF_HUB_OFFLINE is set", "Either unset it once"
    name = "model.name=NAME " if what.startswith(HUB) else ""
    return Problem(
        f"no pretrained weights for {what}: {reason} and no copy is cached. {remedy}, or bring a file: "
        f"{name}model.weights=PATH (.safetensors or .pth)",
        code="weights-unreachable",
    )


def _answers(endpoint: str, repository: str, name: str) -> bool:
    owner_name, _, revision = repository.partition("@")
    return _knock(f"{endpoint}/{owner_name}/resolve/{revision or 'main'}/{name}")


_given_up: set[str] = set()  # hubs that answered, and then sent nothing: nobody waits for them again


@cache
def _knock(address: str) -> bool:
    """Whether anything is answered, in a process that can be ended: to look a name up has no limit of time."""
    try:
        return subprocess.run([sys.executable, "-c", KNOCK, address], timeout=PATIENCE, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _fetch(folder: str, repository: str, names: tuple[str, ...]) -> bool:
    """Whether the hub went on sending to the end. Its own client fetches, and is watched."""
    owner_name, _, revision = repository.partition("@")
    place = Path(folder) / f"models--{owner_name.replace('/', '--')}"
    command = [sys.executable, "-c", FETCH, owner_name, revision, *names]
    surroundings = os.environ | {"HF_HUB_CACHE": folder, "HF_HUB_DISABLE_XET": "1"}  # that one writes elsewhere first
    with subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        child.stdout.readline()  # the hub's time counts from here on, and not the client's own start
        before, since = _bytes_in(place), time.monotonic()
        while child.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - since > PATIENCE:
                now = _bytes_in(place)
                if now - before < SLOWEST * PATIENCE:
                    child.kill()
                    return False
                before, since = now, time.monotonic()
    return True


def _bytes_in(place: Path) -> int:
    sizes = []
    for path in (place / "blobs").glob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # it was given its final name
            continue
    return sum(sizes)


def _licence_of_card(repository: str) -> str:
    """As the card of the repository tells it in its first lines; the card is asked for in the cache alone."""
    card = cached(repository, (CARD,))
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:40] if card else []
    told = [line.partition(":")[2].strip() for line in lines if line.startswith("license:")]
    return told[0] if told else "not told"


def _three(values: Any) -> list[float] | None:
    if values is None:
        return None
    found = [float(value) for value in values]
    if len(found) not in (1, 3):
        raise ValueError("one number a colour")
    return found * (3 // len(found))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(one) for one in value)
    return isinstance(value, bool | int | float | str)
