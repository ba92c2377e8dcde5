"""A folder with everything that a notebook needs at Kaggle: `dataset/` is uploaded once, `notebook/` runs on it."""

import contextlib
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from src.competition.card import Card, card_file
from src.competition.sources.kaggle_input import CARD, EXTENSIONS, METRIC
from src.config.request import Request
from src.core.errors import Problem, UsageError
from src.core.files import read_settings, sha256_of, write_json, write_text
from src.core.locks import locked
from src.core.registry import extension_files
from src.launchers.kaggle_notebook.cells import as_text, notebook_of
from src.launchers.kaggle_notebook.wheel import modules_of, requirements_of, write_wheel

CODE = "podium.ipynb"
CPU = "cpu"  # kernel.machine: none of Kaggle's accelerators, and none of the weekly GPU hours
LONGEST = 50  # letters of an address at Kaggle
# Of what Podium imports, what Kaggle publishes as installed in its image; versions change with the image.
AT_KAGGLE = {"albumentations", "huggingface_hub", "joblib", "matplotlib", "numpy", "omegaconf", "pandas"}
AT_KAGGLE |= {"pillow", "pydantic", "pyyaml", "safetensors", "scikit-learn", "scipy", "threadpoolctl", "timm"}
AT_KAGGLE |= {"torch", "torchvision", "rich"}
SPARE = {"openvino", "nncf", "onnxruntime", "onnx", "onnxscript", "ray"}  # what Podium does without where it is absent
PRIVATE = ("test_labels", "archive")  # of the card: they name files of this machine


@dataclass(frozen=True)
class Folder:
    """What is to be pushed. dataset, kernel: `user/slug` at Kaggle. contents: of the dataset; digest: of everything."""

    path: Path
    dataset: str
    kernel: str
    contents: str
    digest: str

    @property
    def parts(self) -> Path:
        return self.path / "dataset"

    @property
    def notebook(self) -> Path:
        return self.path / "notebook"


def slug_for(*words: str) -> str:
    """An address at Kaggle made of these words: lower case, 6 to 50 letters, and the same for the same words."""
    whole = "-".join(["podium", *words])
    slug = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    if slug == whole and len(slug) <= LONGEST:
        return slug
    # Words that were changed or cut could meet others at the same address.
    return f"{slug[: LONGEST - 7].strip('-')}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


@contextlib.contextmanager
def only_user(path: Path) -> Iterator[int]:
    """Let one process at a time build the folder `path` or have it uploaded; gives the lock, to be held by the kaggle
    command too. Raises Problem where another one is at it."""

    def refusal(pid: str) -> str:
        return (
            f"{path} is in use by another process (pid {pid or '?'}), or by the kaggle command that it began: "
            "wait for it, or stop it"
        )

    with locked(path.with_name(f".{path.name}.lock"), refusal) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


class FolderWriter:
    """Fills a fresh folder beside `path`, and puts it in the place of the old one when it is whole."""

    def __init__(self, path: Path, request: Request, card: Card, user: str, slug: str) -> None:
        self.path, self.request, self.card = path, request, card
        self.address = f"{user}/{slug}"
        self.part = path.with_name(f".{path.name}.part")
        shutil.rmtree(self.part, ignore_errors=True)
        self.parts.mkdir(parents=True)

    @property
    def parts(self) -> Path:
        return self.part / "dataset"

    def add_card(self) -> None:
        """The competition's card, without what names files of this machine, and its own metric."""
        file = card_file(self.card.id)
        tree = read_settings(file)
        kept = {key: value for key, value in tree.items() if key not in PRIVATE}
        write_text(self.parts / CARD, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))
        if file.with_name(METRIC).is_file():
            shutil.copyfile(file.with_name(METRIC), self.parts / METRIC)
        for extension in extension_files():
            (self.parts / EXTENSIONS).mkdir(exist_ok=True)
            shutil.copyfile(extension, self.parts / EXTENSIONS / extension.name)

    def add_wheels(self, roots: Iterable[str], more: Iterable[str] = ()) -> None:
        """Podium's own wheel, and those of kernel.wheels. Raises Problem where one is needed and not there."""
        write_wheel(self.parts, roots, more)
        given = _wheels(self.request.config.kernel.wheels)
        for wheel in given:
            shutil.copyfile(wheel, self.parts / wheel.name)
        there = {_project(name) for name in (*AT_KAGGLE, *SPARE, *(wheel.name.split("-")[0] for wheel in given))}
        absent = [name for name in requirements_of(modules_of(roots).values()) if _project(name) not in there]
        if absent:
            raise Problem(
                f"Kaggle's image is not known to have {', '.join(absent)}: put the wheels into a folder "
                f"(pip download --no-deps {' '.join(absent)}), and add kernel.wheels=FOLDER",
                code="missing-wheels",
            )

    def finish(self, call: str, internet: bool = False) -> Folder:
        """Write the notebook whose last cell is `call`, and both descriptions for the kaggle command; let the folder
        appear."""
        config, title = self.request.config.kernel, self.address.split("/")[1].replace("-", " ")
        contents = digest_of(self.parts)
        dataset = {"title": title, "id": self.address, "licenses": [{"name": "other"}]}
        write_json(self.parts / "dataset-metadata.json", dataset)
        settings = {"COMPETITION": self.card.kaggle, "DATASET": self.address, "HOURS": config.hours}
        write_text(self.part / "notebook" / CODE, as_text(notebook_of(settings, contents, call)))
        kernel = {
            "id": self.address,
            "title": title,
            "code_file": CODE,
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_gpu": config.machine != CPU,
            "enable_internet": internet,
            "dataset_sources": [self.address],
            "competition_sources": [self.card.kaggle],
            "kernel_sources": [],
            "model_sources": [],
            "machine_shape": None if config.machine == CPU else config.machine,
        }
        write_json(self.part / "notebook" / "kernel-metadata.json", kernel)
        digest = digest_of(self.part)
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)
        self.part.rename(self.path)
        shutil.rmtree(old, ignore_errors=True)
        return Folder(self.path, self.address, self.address, contents, digest)


def digest_of(folder: Path) -> str:
    """SHA-256 of the names and bytes of all files below."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{sha256_of(path)}\0".encode())
    return digest.hexdigest()


def format_size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e6:.1f} MB"


def _wheels(word: str | None) -> list[Path]:
    """The wheels of kernel.wheels. Raises UsageError where there is none, or one is damaged."""
    if not word:
        return []
    folder = Path(word).expanduser()
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        what = "there is no .whl file in this folder" if folder.is_dir() else "there is no such folder"
        raise UsageError(f"kernel.wheels={word}: {what}", code="bad-wheels")
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as file:
                damaged = file.testzip()
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error) as error:
            damaged = str(error)
        if damaged:
            raise UsageError(
                f"kernel.wheels={word}: {wheel.name} is no whole wheel ({damaged}): download it again",
                code="bad-wheels",
            )
    return wheels


def _project(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
