"""Out of memory: the message names a batch that works, and smaller pieces learn what the whole batch would."""

import json
import re
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.models import register_model
from torch import nn

from src.core.memory import explain_out_of_memory, largest_batch, out_of_memory
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.codes import raises, refused
from tests.fixtures.notes import names_it


class Cramped(nn.Module):
    """A small network without batch norm, on a device that holds the activations of `room` images at once."""

    room = 10**9
    evaluates_anything = True  # only training is cramped
    fault: type[Exception] = torch.OutOfMemoryError

    def __init__(self, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8)
        self.fc = nn.Linear(8, num_classes)
        self.held: list[weakref.ref] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(images))
        self.held = [one for one in self.held if one() is not None] + [weakref.ref(x)]
        in_use = sum(len(one()) for one in self.held)
        if in_use > Cramped.room and not (self.evaluates_anything and not self.training):
            raise Cramped.fault(f"CUDA out of memory. {in_use} images are held")
        return self.fc(x.relu().mean((2, 3)))

    def __deepcopy__(self, memo: dict) -> "Cramped":
        copy = Cramped(self.fc.out_features, 0.0)
        copy.load_state_dict(self.state_dict())
        return copy


@register_model
def cramped(pretrained: bool = False, num_classes: int = 1000, drop_rate: float = 0.0, **_: object) -> nn.Module:
    return Cramped(num_classes, drop_rate)


# SGD, because Adam's first steps blow the last digits of a gradient up to whole steps.
WORDS = ["config=tiny", "fold=0", "model.name=cramped", "optim.name=sgd", "optim.lr=0.1", "augment=none"]


@pytest.fixture
def room(monkeypatch):
    def set_room(images: int, **more: object) -> None:
        monkeypatch.setattr(Cramped, "room", images)
        for name, value in more.items():
            monkeypatch.setattr(Cramped, name, value)

    return set_room


def weights(tiny: Path, run: str) -> dict[str, torch.Tensor]:
    return load_file(tiny / "runs" / "tiny" / run / "seed0" / "fold0" / "model.safetensors")


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError, MemoryError])
@pytest.mark.parametrize("fits", [5, 1])
def test_the_message_names_the_largest_batch_and_its_words_work(tiny, room, capsys, fits, fault):
    room(fits, fault=fault)
    message = refused(capsys, train, [*WORDS, "train.batch=16", "run=a"], "out-of-memory")
    assert names_it(message, fits)
    advice = re.findall(r"train\.\w+=\d+", message)
    assert advice == [f"train.batch={fits}", "train.global_batch=16"]
    assert train([*WORDS, *advice, "run=b"]) == 0
    assert train([*WORDS, *advice, "run=a"]) == 0  # the first try learned nothing, so its name is free
    assert train([*WORDS, f"train.batch={fits + 1}", "run=c"]) == 1


def test_not_even_one_image(tiny, room, capsys):
    room(0)
    for number, batch in enumerate(("16", "auto")):
        assert train([*WORDS, f"train.batch={batch}", f"run={number}"]) == 1
        message = capsys.readouterr().err
        assert "images.size" in message
        assert "model.name" in message


def test_auto_takes_even_pieces_of_the_global_batch_and_learns_the_same(tiny, room):
    room(1000)
    assert train([*WORDS, "train.batch=15", "run=whole"]) == 0
    assert train([*WORDS, "train.batch=5", "run=small"]) == 0
    room(6)
    assert train([*WORDS, "train.batch=auto", "train.global_batch=15", "run=auto"]) == 0
    assert json.loads((tiny / "runs/tiny/auto/machine.json").read_text())["batch"] == 5
    log = {run: (tiny / f"runs/tiny/{run}/seed0/fold0/log.csv").read_text().splitlines() for run in ("whole", "auto")}
    assert [line.split(",")[1] for line in log["whole"]] == [line.split(",")[1] for line in log["auto"]]  # steps
    assert farthest(weights(tiny, "whole"), weights(tiny, "auto")) < 1e-5
    assert farthest(weights(tiny, "whole"), weights(tiny, "small")) > 1e-3


def test_pieces_of_unequal_size_weigh_by_their_images(tiny, room):
    room(1000)
    assert train([*WORDS, "train.batch=15", "run=whole"]) == 0
    assert train([*WORDS, "train.batch=4", "train.global_batch=15", "run=pieces"]) == 0
    assert farthest(weights(tiny, "whole"), weights(tiny, "pieces")) < 1e-5


def test_pieces_weigh_by_their_classes(tiny, room):
    room(1000)
    weighed = ["loss.class_weights=balanced", "loss.smoothing=0.1", "data.sampler=plain"]
    assert train([*WORDS, *weighed, "train.batch=15", "run=whole"]) == 0
    assert train([*WORDS, *weighed, "train.batch=4", "train.global_batch=15", "run=pieces"]) == 0
    assert farthest(weights(tiny, "whole"), weights(tiny, "pieces")) < 1e-5


def test_auto_takes_the_whole_where_it_fits(tiny, room):
    room(1000)
    assert train([*WORDS, "train.batch=auto", "train.global_batch=15", "run=auto"]) == 0
    assert train([*WORDS, "train.batch=15", "run=whole"]) == 0
    assert json.loads((tiny / "runs/tiny/auto/machine.json").read_text())["batch"] == 15
    assert farthest(weights(tiny, "whole"), weights(tiny, "auto")) == 0


@pytest.mark.parametrize("phase", ["training", "at prediction"])
def test_too_many_images_at_once_when_scoring_is_told(tiny, room, capsys, phase):
    """The batch of scoring is another one, predict.batch: it may fail where training fits."""
    if phase == "at prediction":
        assert train([*WORDS, "train.batch=4", "run=a"]) == 0
    room(5, evaluates_anything=False)
    capsys.readouterr()
    door = train if phase == "training" else predict
    words = [*WORDS, "train.batch=4", "run=a"]
    code = door(words)
    message = capsys.readouterr().err
    assert code == 0 or (code == 1 and "predict.batch" in message and "5" in message)
    assert train([*WORDS, "train.batch=4", "run=b", "predict.batch=5"]) == 0


def test_other_errors_are_no_lack_of_memory():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
        MemoryError("Unable to allocate 4.00 GiB for an array"),
    ):
        assert out_of_memory(error), error


@pytest.mark.parametrize("fits", [0, 1, 2, 3, 7, 15, 16])
def test_the_largest_batch_is_found_and_other_errors_pass(fits):
    tried = []

    def attempt(batch: int) -> None:
        tried.append(batch)
        if batch > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    assert largest_batch(attempt, 16) == fits
    assert all(1 <= batch <= 16 for batch in tried)

    def broken(batch: int) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError) as raised:
        largest_batch(broken, 16)
    assert raised.value.args == ("shapes",)


def test_a_run_that_has_learned_is_told_how_to_go_on(tiny, room, capsys):
    """It keeps its batch, so a smaller one is for another run; the same command goes on where there is room."""
    room(1000)
    assert train([*WORDS, "train.batch=16", "run=a"]) == 0
    room(5)
    second = [word.replace("fold=0", "fold=1") for word in WORDS]
    words = "run=NAME train.batch=5 train.global_batch=16"
    refused(capsys, train, [*second, "train.batch=16", "run=a"], "out-of-memory", words)
    room(1000)
    assert train([*second, "train.batch=16", "run=a"]) == 0


@pytest.mark.parametrize(
    ("fault", "code", "name"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "out-of-memory",
            "2 GiB",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."),
            "process-lost",
            "machine.workers=0",
        ),
    ],
)
def test_memory_that_fails_anywhere_in_a_fold_is_told(fault, code, name):
    with raises(code, "fold 1", name), explain_out_of_memory("fold 1"):
        raise fault


def test_another_failure_of_a_fold_stays_what_it_is():
    fault = RuntimeError("shapes")
    with pytest.raises(RuntimeError) as raised, explain_out_of_memory("fold 1"):
        raise fault
    assert raised.value is fault
