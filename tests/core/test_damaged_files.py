"""Files that a disk, a kill or a careless hand has spoilt: a right result, or one line that names the file.

The loop over every file of a competition, a run and a ledger prints what each fault came to: pytest -m slow -s.
"""

import contextlib
import csv
import io
import json
import os
import re
import resource
import shutil
import subprocess
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.core import files
from src.core.files import (
    format_size,
    needed_and_free,
    read_csv,
    read_json,
    read_npz,
    read_settings,
    sweep_parts,
)
from src.core.paths import REPOSITORY
from src.predict import main as predict
from src.prepare import main as prepare
from src.report import main as report
from src.submit import main as submit
from src.sweep import main as sweep
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import warm_python

SPOIL: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "halved": lambda data: data[: len(data) // 2],
    "64 bytes flipped": lambda data: flipped(data, len(data) // 2 - 32),
}


def flipped(data: bytes, at: int, count: int = 64) -> bytes:
    at = max(0, at)
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + count]) + data[at + count :]


def of_another_type(file: Path) -> None:
    """A whole file of its kind that holds something else."""
    texts = {
        ".json": "[1]" if file.read_bytes()[:1] == b"{" else "{}",
        ".yaml": "- a\n",
        ".csv": "other,columns\n1,2\n",
    }
    if file.suffix == ".npz":
        np.savez(file, other=np.zeros(3))
    elif file.suffix == ".npy":
        np.save(file, np.zeros(3))
    elif file.suffix == ".safetensors":
        save_file({"other": torch.zeros(3)}, file)
    elif file.suffix == ".pt":
        torch.save({"other": 1}, file)
    else:
        file.write_text(texts.get(file.suffix, "words"))


def of_another_shape(file: Path) -> None:
    """The same keys, with other values than belong there: text for numbers, one entry less."""
    if file.suffix == ".json":
        file.write_text(json.dumps(reshaped(json.loads(file.read_bytes()))))
    elif file.suffix == ".yaml":
        file.write_text(re.sub(r"(?m)^(\w+): (.+)$", r"\1: [\2]", file.read_text()))
    elif file.suffix == ".csv":
        head, *rows = file.read_text().splitlines()
        file.write_text("\n".join([head, *(",".join(["x"] * len(row.split(","))) for row in rows)]) + "\n")
    elif file.suffix in (".npz", ".npy"):
        held = np.load(file)
        arrays = dict(held) if file.suffix == ".npz" else {"": held}
        arrays = {key: value[1:].astype(str) if value.ndim else value for key, value in arrays.items()}
        np.savez(file, **arrays) if file.suffix == ".npz" else np.save(file, arrays[""])
    elif file.suffix == ".safetensors":
        with safe_open(file, "pt") as held:
            metadata = held.metadata()
        save_file({key: value.reshape(-1)[:1].clone() for key, value in load_file(file).items()}, file, metadata)
    elif file.suffix == ".pt":
        torch.save(reshaped(torch.load(file, weights_only=True)), file)
    else:
        file.write_text("words")


def reshaped(value: object) -> object:
    if isinstance(value, dict):
        return {key: reshaped(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [reshaped(one) for one in value[1:]]
    if isinstance(value, torch.Tensor):
        return value.reshape(-1)[:1].clone()
    return str(value)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


REPLACE: dict[str, Callable[[Path], None]] = {
    "removed": Path.unlink,
    "of another type": of_another_type,
    "of another shape": of_another_shape,
    "a folder": a_folder,
    "a dangling link": a_dangling_link,
    "unreadable": lambda file: file.chmod(0),
}


def spoil(file: Path, how: str) -> None:
    """Spoil a file. Its time stays, as it does where a disk has gone wrong."""
    if how in REPLACE:
        REPLACE[how](file)
        if how == "unreadable" and os.access(file, os.R_OK):
            pytest.skip("whoever is root reads everything")
        return
    facts, content = file.stat(), SPOIL[how](file.read_bytes())
    file.write_bytes(content)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def told(command: Callable[[list[str]], int], words: str, capsys: pytest.CaptureFixture) -> tuple[int, dict]:
    """The exit code of a command, and what --json tells."""
    capsys.readouterr()
    code = command([*words.split(), "--json"])
    return code, json.loads(capsys.readouterr().out)


# The readers


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "damaged-file"),
        (b" \n", "damaged-file"),
        (b'{"folds": "ab', "damaged-file"),
        (b"\xff\xfe\x00", "damaged-file"),
        (b"[1, 2]", "damaged-file"),
        (b"12", "damaged-file"),
        (b"[" * 100_000, "damaged-file"),
        (None, "missing-file"),
    ],
)
def test_a_json_file_that_is_none_is_told_with_its_remedy(tmp_path, content, code):
    file = tmp_path / "run.json"
    if content is not None:
        file.write_bytes(content)
    with raises(code) as error:
        read_json(file)
    assert str(file) in str(error.value)
    assert "run=NEWNAME" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_json_file_without_end_is_told_before_it_is_read(tmp_path):
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(1_000_000_000)
    with raises("damaged-file"):
        read_json(tmp_path / "run.json")


def test_a_key_that_a_json_file_lacks_is_told_with_the_file(tmp_path):
    file = tmp_path / "done.json"
    file.write_text('{"score": 1}')
    facts = read_json(file)
    assert facts["score"] == 1 and facts.get("weights") is None
    with raises("damaged-file") as error:
        facts["weights"]
    assert str(file) in str(error.value) and "weights" in str(error.value)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("run.json", {"folds": 1}),
        ("run.json", {"extensions": []}),
        ("machine.json", {"workers": "0"}),
        ("machine.json", {"threads": "None"}),
        ("done.json", {"score": "0.9"}),
        ("done.json", {"epochs": None}),
    ],
)
def test_a_value_of_another_type_is_told_with_the_file(tmp_path, name, wrong):
    """Whole JSON, as an editor or another program leaves it."""
    files.write_json(tmp_path / name, {"more": 1})
    assert read_json(tmp_path / name) == {"more": 1}
    files.write_json(tmp_path / name, wrong)
    with raises("damaged-file") as error:
        read_json(tmp_path / name)
    assert name in str(error.value) and next(iter(wrong)) in str(error.value)


def test_a_log_with_text_for_numbers_is_told(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n1,0.5\nx,0.4\n")
    with raises("damaged-file"):
        read_csv(tmp_path / "log.csv", ("epoch",), numbers=True)


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n1,0.5\n2,0.", b"a,b\n1,2\n", b'epoch,loss\n"1,2\n', b"\xff\n"])
def test_a_table_that_is_none_is_told(tmp_path, content):
    (tmp_path / "log.csv").write_bytes(content)
    with raises("damaged-file"):
        read_csv(tmp_path / "log.csv", ("epoch", "loss"))


@pytest.mark.parametrize("how", [*SPOIL, "removed"])
def test_an_npz_that_is_none_is_told(tmp_path, how):
    file = tmp_path / "x.npz"
    np.savez(file, id=np.array(["a", "b"]), logits=np.ones((2, 50), np.float32))
    assert read_npz(file, ("id",))["id"].tolist() == ["a", "b"]
    spoil(file, how)
    with raises("missing-file" if how == "removed" else "damaged-file"):
        read_npz(file, ("id", "logits"))


def test_sizes_are_told_so_that_two_can_be_told_apart():
    assert [format_size(size) for size in (0, 512, 1400, 3.2e6, 9.996e8, 1.5e12)] == [
        "0 bytes",
        "512 bytes",
        "1.4 kB",
        "3.2 MB",
        "1.00 GB",
        "1.50 TB",
    ]
    assert re.findall(r"\d[\d,]+", needed_and_free(1_500_000_400, 1_500_000_000)) == ["1,500,000,400", "1,500,000,000"]


def test_what_a_killed_process_left_is_swept_by_the_next_write(tmp_path):
    (tmp_path / ".done.json.abc.part").touch()
    (tmp_path / ".done.json.def.part").touch()
    (tmp_path / ".other.json.abc.part").touch()
    os.utime(tmp_path / ".done.json.abc.part", (0, 0))
    files.write_json(tmp_path / "done.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".done.json.def.part",
        ".other.json.abc.part",
        "done.json",
    ]
    sweep_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["done.json"]


# Cards and configurations


def card_of(home: Path) -> Path:
    return home / "competition" / "tiny" / "card.yaml"


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"title: [", b"\xff\xfet\0i\0", b"- a\n", b"\0\0", b"title: Caf\xe9\n"),
        *(b"[" * 5000, b"a: " + b"[" * 5000 + b"]" * 5000, b"a: {" * 3000 + b"}" * 3000, b"a: &a [*a]\n"),
    ],
)
@pytest.mark.parametrize("which", ["card.yaml", "tiny.yaml"])
def test_a_card_or_configuration_that_is_none_is_told_in_one_line(tiny, capsys, content, which):
    file = card_of(tiny) if which == "card.yaml" else tiny / "configs" / "tiny.yaml"
    file.write_bytes(content)
    code, answer = told(train, "config=tiny", capsys)
    assert code == 2
    assert which in answer["error"]["message"]
    assert len(answer["error"]["message"].splitlines()) == 1


def nested(first: str, line: Callable[[int], str], count: int = 12) -> str:
    return f"a0: {first}\n" + "".join(f"a{n}: {line(n)}\n" for n in range(1, count))


BOMBS = {
    "aliases": nested("&a0 [0, 0]", lambda n: f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]"),
    "merges": nested("&a0 {k: 0}", lambda n: f"&a{n} {{x{n}: *a{n - 1}, y{n}: *a{n - 1}, <<: *a{n - 1}}}", 40),
    "references": nested("xxxxxxxx", lambda n: f"'{9 * f'${{a{n - 1}}}'}'"),
    "references to lists": nested("[0, 0]", lambda n: "['{0}', '{0}', '{0}', '{0}']".format(f"${{a{n - 1}}}"), 20),
    "a large file": "title: x\n" + "# nothing\n" * 300_000,
    "endless": None,
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("which", [pytest.param("card.yaml", marks=pytest.mark.slow), "tiny.yaml"])
def test_a_few_lines_that_come_to_gigabytes_are_refused(tiny, capsys, kind, which):
    file = card_of(tiny) if which == "card.yaml" else tiny / "configs" / "tiny.yaml"
    if kind == "endless":
        file.unlink()
        file.symlink_to("/dev/zero")
    else:
        file.write_text(BOMBS[kind])
    limit = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 500_000_000, limit[1]))
    try:
        code, answer = told(train, "config=tiny", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    no_file = "unknown-competition" if which == "card.yaml" else "unknown-config"
    assert (code, answer["error"]["code"]) == (2, no_file if kind == "endless" else "too-large")
    assert which in answer["error"]["message"] and len(answer["error"]["message"].splitlines()) == 1


@pytest.mark.parametrize("kind", ["aliases", "merges", "a large file"])
def test_a_sweep_that_comes_to_gigabytes_is_refused(tiny, capsys, kind):
    file = tiny / "configs" / "sweeps" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(BOMBS[kind])
    code, answer = told(sweep, "sweep=mine", capsys)
    assert (code, answer["error"]["code"]) == (2, "too-large") and "mine.yaml" in answer["error"]["message"]


def test_what_repeats_a_little_is_read(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a: &a {x: 1}\nb: {<<: *a, y: '${a.x}'}\nc: [*a, '${b}', 'is ${c.0.x}']\n")
    assert read_settings(file) == {"a": {"x": 1}, "b": {"x": 1, "y": 1}, "c": [{"x": 1}, {"x": 1, "y": 1}, "is 1"]}
    file.write_text("classes:\n" + "".join(f"- class number {k}\n" for k in range(12_000)))
    assert len(read_settings(file)["classes"]) == 12_000
    for wrong in ("a: ${b}\n", "a: ${a}\n", "a: '${b} ${b.c}'\nb: 1\n"):
        file.write_text(wrong)
        with raises("damaged-file"):
            read_settings(file)


@pytest.mark.parametrize(
    "asking",
    [
        "${oc.env:PODIUM_KEY_OF_TEST}",
        "${oc.decode:'1'}",
        "a ${oc.env:X, b} c",
        "${${x}:PODIUM_KEY_OF_TEST}",
        "${oc.coerce:1}",
    ],
)
@pytest.mark.parametrize("which", ["card", "config"])
def test_no_file_of_a_stranger_reads_the_environment(tiny, capsys, monkeypatch, which, asking):
    """A key in a title would stand in the page that is handed in."""
    monkeypatch.setenv("PODIUM_KEY_OF_TEST", "a-secret")
    if which == "card":
        file = card_of(tiny)
        file.write_text(file.read_text().replace("title: Three colours", f"title: {json.dumps(asking)}\ngroup: oc.env"))
    else:
        file = tiny / "configs" / "tiny.yaml"
        file.write_text(f"{file.read_text()}x: oc.env\nrun_note: {json.dumps(asking)}\n")
    code, answer = told(train, "config=tiny", capsys)
    assert (code, answer["error"]["code"]) == (2, "resolver")
    assert "a-secret" not in json.dumps(answer)
    with raises("resolver"):
        read_settings(file)


def test_a_key_of_the_same_file_may_be_named(tmp_path):
    (tmp_path / "x.yaml").write_text("size: 64\nimages: {size: '${size}'}\n")
    assert read_settings(tmp_path / "x.yaml") == {"size": 64, "images": {"size": 64}}


@pytest.mark.parametrize(
    ("line", "by"),
    [
        ("id: ../../x", None),
        ("id: other", None),
        ("id: /tmp/x", None),
        ("test_labels: ../../answers.csv", "test_labels: answers/test.csv"),
        ("test_labels: /etc/hostname", "test_labels: answers/test.csv"),
        ("archive: ../x.zip", None),
        ("kaggle: --path", None),
        ("table: ../../train.csv", "table: train.csv"),
        ('images: "../{image_id}.png"', 'images: "train/{image_id}.png"'),
        ("sample: /etc/passwd", "sample: sample_submission.csv"),
    ],
)
def test_what_a_card_names_lies_in_its_own_folder(tiny, capsys, line, by):
    card = card_of(tiny)
    text = card.read_text()
    assert by is None or by in text
    card.write_text(text.replace(by, line) if by else f"{text}{line}\n")
    before = {path for path in tiny.rglob("*") if path.is_file()}
    code, answer = told(train, "config=tiny", capsys)
    assert code == 2
    assert "card.yaml" in answer["error"]["message"]
    assert {path for path in tiny.rglob("*") if path.is_file()} == before


def test_an_own_metric_is_told_when_it_is_first_run(tiny, capsys):
    card = card_of(tiny)
    card.write_text(card.read_text().replace("metric: accuracy", "metric: own"))
    metric = card.with_name("metric.py")
    program = (
        "higher_is_better, needs = True, 'labels'\ndef score(targets, labels): return (targets == labels).mean()\n"
    )
    metric.write_text(program)
    (card.parent / "data" / "metric.py").write_text("raise SystemExit('this came with the download')")
    said = []
    for text in (program, program, f"{program}# another\n"):
        metric.write_text(text)
        capsys.readouterr()
        assert train(["config=tiny", "fold=0", "train.epochs=1"]) == 0
        said.append(str(metric) in capsys.readouterr().out)
    assert said == [True, False, True]


def test_names_that_steer_a_terminal_are_written_out(tiny, capsys):
    """A class of this name would clear the screen of whoever looks at the scores."""
    table = tiny / "competition" / "tiny" / "data" / "train.csv"
    table.write_text(table.read_text().replace("blue", "b\x1b[2Jl\u202eue"))
    sample = tiny / "competition" / "tiny" / "data" / "sample_submission.csv"
    sample.write_text(sample.read_text().replace("blue", "green"))
    answers = tiny / "competition" / "tiny" / "answers" / "test.csv"
    answers.write_text(answers.read_text().replace("blue", "b\x1b[2Jl\u202eue"))
    capsys.readouterr()
    assert train(["config=tiny", "fold=0", "train.epochs=1"]) == 0
    told = capsys.readouterr()
    assert "\\x1b[2J" in told.out and "\\u202e" in told.out
    assert train(["config=\x1b[2J"]) == 2
    told = "".join([*told, *capsys.readouterr()])
    assert "\x1b" not in told and "\u202e" not in told


def test_cells_that_a_spreadsheet_would_compute_are_defused_but_in_the_submission(tiny, capsys):
    """Of tables for people: names and ids of a stranger's data. Numbers stay numbers, and an id is found again."""
    data = tiny / "competition" / "tiny" / "data"
    formula = '=HYPERLINK("http://x/"&A1)'
    for name, keys in (("train", "image_id"), ("sample_submission", "image_id")):
        table = pd.read_csv(data / f"{name}.csv", dtype=str)
        for old in table[keys]:
            image = data / ("train" if name == "train" else "test") / f"{old}.png"
            image.rename(image.with_name(f"=1+{old}.png"))
        table[keys] = "=1+" + table[keys]
        table["colour"] = table["colour"].replace({"blue": formula, "green": "-3"})
        table.to_csv(data / f"{name}.csv", index=False)
    card = card_of(tiny)
    card.write_text(card.read_text().replace("test_labels: answers/test.csv\n", ""))
    assert train(["config=tiny", "fold=0", "train.epochs=1"]) == 0
    assert predict(["config=tiny", "train.epochs=1"]) == 0 and report(["config=tiny", "train.epochs=1"]) == 0
    found = set()
    for file in tiny.glob("runs/tiny/tiny*/**/*.csv"):
        with file.open(newline="") as lines:
            found |= {cell for row in csv.reader(lines) for cell in row if cell}
    formulas = {cell for cell in found if cell[0] in "=+-@\t\r"}
    assert {f"'{formula}", "-3"} <= found and any(cell.startswith("'=1+") for cell in found)
    for cell in formulas:
        float(cell)
    (submission,) = tiny.glob("submissions/tiny/*epochs=1.csv")
    assert set(pd.read_csv(submission, dtype=str)["image_id"]) == set(table["image_id"])
    (tiny / "doubted.csv").write_text("id\n'=1+0001\n=1+0002\n")
    assert train(["config=tiny", "fold=0", "train.epochs=1", "run=less", "data.ignore=doubted.csv"]) == 0
    assert told(train, "config=tiny fold=0 run=no data.ignore=no.csv", capsys)[0] == 2


# Archives


@pytest.mark.parametrize("kind", ["ratio", "nested", "files", "total"])
def test_an_archive_that_no_data_set_is_asks_before_it_is_unpacked(home, tmp_path, capsys, monkeypatch, kind):
    room = "src.competition.sources.archives."
    monkeypatch.setattr(room + ("MOST_FILES" if kind == "files" else "PLAIN"), 100 if kind == "files" else 1e6)
    if kind == "total":
        monkeypatch.setattr(room + "LARGEST", 1e5)
    source = tmp_path / "bomb.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "files":
            for number in range(101):
                archive.writestr(f"train/{number}.txt", "x")
        elif kind == "nested":
            inner = tmp_path / "inner.zip"
            with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as other:
                other.writestr("zeros.bin", bytes(3_000_000))
            archive.write(inner, "inner.zip")
        else:
            archive.writestr("zeros.bin", bytes(3_000_000 if kind == "ratio" else 200_000))
    code, answer = told(prepare, str(source), capsys)
    assert (code, answer["error"]["code"]) == (1, "archive-bomb")
    assert "--unpack-anyway" in answer["error"]["message"]
    assert not list(home.rglob("zeros.bin")) and not list(home.rglob("*.txt"))
    _, answer = told(prepare, f"{source} --unpack-anyway", capsys)
    assert answer["error"]["code"] != "archive-bomb"  # it goes on, and finds no images in it


# Checkpoints and weights


WORDS = "config=tiny fold=0 train.epochs=3"


def begun(home: Path, words: str) -> Path:
    """A fold that was killed after its first epoch; its checkpoint."""
    code = (
        "import os, signal, sys; from src.training import trainer, state; save = state.State.save\n"
        "def saved(self, path):\n"
        "    save(self, path)\n"
        "    if self.progress.epoch == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "state.State.save = saved\n"
        "from src.train import main; sys.exit(main(sys.argv[1:]))"
    )
    env = os.environ | {"PODIUM_HOME": str(home)}
    subprocess.run(
        [warm_python(), "-c", code, *words.split()], cwd=REPOSITORY, env=env, capture_output=True, check=False
    )
    (checkpoint,) = (home / "runs").rglob("checkpoint.pt")
    return checkpoint


def test_a_checkpoint_that_is_damaged_is_not_gone_on_from(tiny, capsys):
    """Inverted weights once gave a held-out loss of 3.8e23, and the training went on."""
    checkpoint = begun(tiny, WORDS)
    whole = checkpoint.read_bytes()
    (checkpoint.parent / ".checkpoint.pt.abc.part").touch()
    for how in (*SPOIL, "of another type", "of another shape"):
        checkpoint.write_bytes(whole)
        spoil(checkpoint, how)
        code, answer = told(train, WORDS, capsys)
        assert (code, answer["error"]["code"]) == (1, "damaged-file"), how
        assert "checkpoint.pt" in answer["error"]["message"]
    checkpoint.write_bytes(whole)
    assert train(WORDS.split()) == 0
    assert not list(tiny.rglob("*.part"))


def test_the_weights_of_the_best_epoch_are_held_to_their_checksum(tiny, capsys):
    words = f"{WORDS} train.keep=best"
    checkpoint = begun(tiny, words)
    best = checkpoint.with_name("best.safetensors")
    with safe_open(best, "pt") as held:
        metadata = held.metadata()
    tensors = load_file(best)
    name = max(tensors, key=lambda key: tensors[key].numel())
    save_file(tensors | {name: tensors[name] + 1}, best, metadata)
    # The epochs that are left would put better weights aside: none is better than this.
    kept = torch.load(checkpoint, weights_only=True)
    for entry in kept["progress"]["history"]:
        entry["score"] = 2.0
    torch.save(kept, checkpoint)
    code, answer = told(train, words, capsys)
    assert (code, answer["error"]["code"]) == (1, "damaged-file")
    assert "best.safetensors" in answer["error"]["message"]


def test_weights_that_another_run_begins_with_are_those_that_it_kept(tiny, capsys):
    assert train(WORDS.split()) == 0
    (weights,) = (tiny / "runs").rglob("model.safetensors")
    data = weights.read_bytes()
    weights.write_bytes(flipped(data, len(data) - 100, 8))
    run = weights.parents[2].name
    code, answer = told(train, f"config=tiny fold=0 run=next model.weights=run:{run}", capsys)
    assert code == 1 and "model.safetensors" in answer["error"]["message"]


# Every file of a competition, a finished and a begun run, and a ledger


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("everything")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        assert train(["config=tiny"]) == 0
        assert predict(["--tta", "config=tiny"]) == 0
        assert report(["config=tiny"]) == 0
        begun(home, "config=tiny fold=0 run=begun train.epochs=3")
        ledger(home)
    return home


def ledger(home: Path) -> None:
    from dataclasses import asdict

    from src.submission import ledger as book

    entry = book.Entry(time="2026-01-01 00:00:00", competition="tiny", file="tiny.csv", sha256="0" * 64, ref="1")
    for status, score in (("PUSHING", ""), ("COMPLETE", "0.9")):
        path = book.ledger_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {key: "" if value is None else value for key, value in asdict(entry).items()}
        row |= {"status": status, "public_score": score}
        if not path.exists():
            path.write_text(",".join(book.COLUMNS) + "\n")
        with path.open("a") as out:
            out.write(",".join(str(row[column]) for column in book.COLUMNS) + "\n")


COMMANDS = (
    (train, "config=tiny run=begun fold=0 train.epochs=3"),
    (train, "config=tiny"),
    (predict, "--tta config=tiny"),
    (report, "config=tiny"),
    (submit, "--history competition=tiny"),
)


def outcome(command: Callable[[list[str]], int], words: str) -> str:
    """What a command came to: done, or the one line that it told."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(words.split())
    if code == 0:
        return "done"
    message = err.getvalue().strip()
    assert message.startswith("error: ") and message.count("error: ") == 1 and "Traceback" not in message, message
    assert all(line.startswith("  ") for line in message.splitlines()[1:]), message  # what is listed, a line each
    return message


def results(home: Path) -> dict[str, bytes]:
    """What a wrong result would show in: the submission, the weights, and what folds came to."""
    kept = [*home.glob("submissions/tiny/tiny.csv"), *home.glob("runs/tiny/*/seed*/*/model.safetensors")]
    kept = [path for path in kept if path.is_file() and os.access(path, os.R_OK)]
    scores = {file: json.loads(file.read_bytes()) for file in home.glob("runs/tiny/*/seed*/*/done.json")}
    told = {file: json.dumps([one["score"], one["epochs"]]).encode() for file, one in scores.items()}
    return {str(path.relative_to(home)): path.read_bytes() for path in kept} | {
        str(path.relative_to(home)): value for path, value in told.items()
    }


def every_file(home: Path) -> list[str]:
    """Every file but locks, and but those that are many of one kind: of images and figures, and of folds, one."""
    names = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and path.name != "lock")
    many = {}
    for name in names:
        kind = re.sub(r"fold\d", "fold", name) if "/seed0/" in name else str(Path(name).parent) + Path(name).suffix
        plain = name.endswith((".png", ".csv")) and ("/data/" in name or "/report/" in name)
        many.setdefault(kind if plain or "/seed0/" in name else name, name)
    return list(many.values())


def spoilt(source: Path, home: Path, name: str, how: str, right: dict[str, bytes]) -> list[str]:
    """What each command came to with that file spoilt. Fails where one is neither right nor one line."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(source, home)
    spoil(home / name, how)
    answers = []
    for command, words in COMMANDS:
        answers.append(f"{command.__module__} {words}: {outcome(command, words)}")
        if (home / name).name == "done.json" and "done" not in answers[-1][-5:]:
            continue  # its scores cannot be read
        there = results(home) if how == "removed" or not name.endswith("done.json") else {}
        wrong = [key for key, value in there.items() if right.get(key, value) != value and key != name]
        assert not wrong, f"{answers}: {wrong} differ"
    return answers


@pytest.fixture(scope="module")
def right(everything: Path, tmp_path_factory) -> dict[str, bytes]:
    """The results where nothing is spoilt."""
    whole = tmp_path_factory.mktemp("right") / "home"
    shutil.copytree(everything, whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(whole))
        assert [outcome(*command) for command in COMMANDS] == ["done"] * len(COMMANDS)
    return results(whole)


FEW = ("fold0/done.json", "oof-identity.npz", "look.npz")


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=() if how == "halved" else pytest.mark.slow) for how in (*SPOIL, *REPLACE)]
)
@pytest.mark.parametrize("which", ["few", pytest.param("all", marks=pytest.mark.slow)])
def test_every_file_spoilt_is_a_right_result_or_one_line(everything, right, home, how, which):
    failed = []
    for name in every_file(everything):
        if which == "few" and not name.endswith(FEW):
            continue
        try:
            answers = "".join(f"\n    {answer}" for answer in spoilt(everything, home, name, how, right))
        except Exception as error:
            answers = f" WRONG: {type(error).__name__}: {error}"
            failed.append(f"{name}, {how}:{answers}\n{traceback.format_exc(limit=-4)}")
        print(f"{name}, {how}:{answers}")
    assert not failed, "\n\n".join(failed)
