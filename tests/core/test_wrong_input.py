"""Wrong input gives one clear message and the right exit code, and leaves what was there before whole."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from src.core.paths import REPOSITORY
from src.predict import main as predict
from src.train import main as train
from tests.fixtures.tiny import write_tiny
from tests.fixtures.warm_python import warm_python

Tree = dict[str, bytes]
# What a command may write before it finds the fault: facts of the competition, nothing that belongs to a run.
FACTS = re.compile(r"(runs/\w+/folds-\w+\.csv|runs/\w+/overview\.json|competition/\w+/cache/.*)")


def tree(home: Path) -> Tree:
    """Every file of a home but the locks, which hold the number of the last process, and the index of the images, which
    takes down the times of files that were copied."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name not in ("lock", "look.npz"))
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def assert_whole(before: Tree, home: Path) -> None:
    """What was there is there, unchanged, and nothing came that could be taken for a result."""
    after = tree(home)
    assert {path: after.get(path) for path in before} == before
    came = [path for path in after if path not in before]
    assert [path for path in came if not FACTS.fullmatch(path)] == []
    assert [path for path in after if path.endswith(".part")] == []


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Give words to a door and expect its refusal: the exit code, and one code and message that tell all of this."""

    def refuse(door: Callable[[list[str]], int], words: str, code: int, *told: str) -> str:
        capsys.readouterr()
        assert door([*words.split(" "), "--json"]) == code
        out, err = capsys.readouterr()
        assert err.count("error: ") == 1 and "Traceback" not in err
        message = ": ".join(json.loads(out)["error"].values())
        for word in told:
            assert word in message, f"{word!r} is not told in: {message}"
        return message

    return refuse


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_tiny(home)
        assert train(["config=tiny"]) == 0
        assert predict(["--tta", "config=tiny"]) == 0
    return home


@pytest.fixture
def trained(once_trained: Path, home: Path) -> Path:
    """A home with competition tiny, trained and predicted, that a test may spoil."""
    shutil.copytree(once_trained, home, dirs_exist_ok=True)
    return home


def edit(file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False)


# The command line: exit code 2, and no run begins


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("config=tiny optim.lrr=1e-3", ["optim.lrr", "optim.lr?"]),
        ("config=tiny epochs=3", ["unknown-key", "epochs", "train.epochs"]),
        ("config=tiny train.epochs=ten", ["train.epochs=ten"]),
        ("config=tiny train.epochs=0", ["train.epochs=0", "greater than 0"]),
        ("config=tiny train.epochs=1.5", ["train.epochs=1.5"]),
        ("config=tiny optim.lr=-1", ["optim.lr=-1"]),
        ("config=tiny data.sampler=weigthed", ["data.sampler=weigthed", "weighted"]),
        ("config=tiny images.fit=squash", ["images.fit=squash", "stretch"]),
        ("config=tiny log.tensorboard=perhaps", ["log.tensorboard=perhaps"]),
        ("config=tiny optim.lr=[1", ["optim.lr=[1"]),
        ("config=tiny model=resnet19", ["model=resnet19", "resnet18?"]),
        ("config=tiny model.name=resnet1x", ["model.name=resnet1x", "resnet18"]),
        ("config=tiny optim.name=adamwww", ["optim.name=adamwww"]),
        ("config=tiny augment=lihgt", ["augment=lihgt", "light"]),
        ("config=tiny augment=[HorizontalFlop]", ["augment", "HorizontalFlop"]),
        ("config=tiny augment=[{HorizontalFlip:{pp:1}}]", ["HorizontalFlip", "pp"]),
        ("config=tiny predict.views=[identity,sideways]", ["sideways", "hflip"]),
        ("config=tiny images.prepare=[crop_boarder]", ["crop_boarder", "crop_border"]),
        ("config=tinny", ["unknown-config", "config=tinny", "tiny?"]),
        ("competition=tinny", ["competition=tinny", "tiny", "src.prepare"]),
        ("config=tiny competition=demo-digits", ["config=tiny", "config-of-another-competition", "demo-digits"]),
        ("run=nothing", ["run=nothing", "config=NAME"]),
        ("config=tiny run=../elsewhere", ["run=../elsewhere"]),
        ("config=tiny run=..", ["run=.."]),
        ("config=tiny fold=3", ["fold=3", "0 to 2"]),
        ("config=tiny fold=0..3", ["fold=0..3", "0 to 2"]),
        ("config=tiny fold=2..1", ["fold=2..1"]),
        ("config=tiny fold=-1", ["fold=-1"]),
        ("config=tiny fold=0,0", ["fold=0,0"]),
        ("config=tiny fold=first", ["fold=first", "0..2"]),
        ("config=tiny fold=0,all", ["fold=0,all"]),
        ("config=tiny seed=one", ["seed=one"]),
        ("config=tiny seed=1,1", ["seed=1,1"]),
        ("config=tiny fold=0 fold=1", ["given-twice", "fold"]),
        ("config=tiny fold", ["'fold'", "key=value"]),
        ("config=tiny fold=", ["'fold='", "key=value"]),
        ("config=tiny --tta", ["--tta"]),
        ("config=tiny --fast", ["--fast"]),
    ],
)
def test_a_wrong_word_is_told_and_no_run_begins(tiny, refused, words, told):
    before = tree(tiny)
    message = refused(train, words, 2, *told)
    assert len(message.splitlines()) == 1
    assert_whole(before, tiny)


def test_a_wrong_word_is_told_before_the_heavy_libraries_load(tiny):
    code = "import sys; from src.predict import main; print(main(sys.argv[1:]), 'torch' in sys.modules)"
    words = [sys.executable, "-c", code, "config=tiny", "optim.lrr=1"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert done.stderr.startswith("error: ") and "optim.lrr" in done.stderr


def test_tta_takes_no_word(trained, refused):
    latest = trained / "submissions" / "tiny" / "tiny.csv"
    expected = latest.read_bytes()
    for words in (["--tta", "config=tiny"], ["config=tiny", "--tta"], ["config=tiny", "--tta", "fold=0..2"]):
        latest.unlink()
        assert predict(words) == 0
        assert latest.read_bytes() == expected
    before = tree(trained)
    refused(predict, "--tta=foo config=tiny", 2, "--tta=foo", "predict.views")
    refused(predict, "--tta identity config=tiny", 2, "'identity'")
    assert tree(trained) == before


# Advice: what a message tells to type does what it promises


def typed(message: str, words: str) -> list[str]:
    """The words of the training command that a message advises to one who gave `words`."""
    if "python -m src.train with the same words" in message:
        return words.split(" ")
    (words,) = re.findall(r"python -m src\.train (\S+=\S+(?: \S+=\S+)*)", message)
    return words.rstrip(".").split(" ")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        pytest.param("", "config=tiny", marks=pytest.mark.slow),
        pytest.param("", "config=tiny fold=1", marks=pytest.mark.slow),
        ("", "config=tiny train.epochs=1"),
        ("config=tiny fold=0", "config=tiny fold=0..1"),
        pytest.param("config=tiny fold=0..2", "config=tiny seed=1", marks=pytest.mark.slow),
    ],
)
def test_prediction_before_training_tells_what_to_type(tiny, refused, first, words):
    if first:
        assert train(first.split(" ")) == 0
    before = tree(tiny)
    message = refused(predict, f"--tta {words}", 2, "python -m src.train")
    assert tree(tiny) == before
    assert train(typed(message, words)) == 0
    assert predict(["--tta", *words.split(" ")]) == 0


def test_a_mistake_mended_in_the_config_does_not_cost_the_name(tiny, refused):
    """A run that never began to train owns nothing yet."""
    config = tiny / "configs" / "tiny.yaml"
    right = config.read_text()
    for wrong in (
        right.replace("model: resnet8", "model: {name: resnet8, pretrained: false, weights: nowhere.safetensors}"),
        right.replace("lr: 1e-2", "lr: 1e-2, args: {no_such_argument: 1}"),
    ):
        config.write_text(wrong)
        refused(train, "config=tiny fold=0", 1 if "nowhere" in wrong else 2)
        config.write_text(right)
        assert train(["config=tiny", "fold=0", "train.epochs=3"]) == 0
        assert train(["config=tiny", "fold=0"]) == 0, "the name is taken by a configuration that trained nothing"
        shutil.rmtree(tiny / "runs")


# The competition's files: exit code 1, before anything is trained


def data(home: Path) -> Path:
    return home / "competition" / "tiny" / "data"


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("fault", ["missing", "cut", "empty", "text"])
def test_a_bad_image_is_named(tiny, refused, part, fault):
    image = data(tiny) / part / {"train": "0007.png", "test": "0503.png"}[part]
    if fault == "missing":
        image.unlink()
    elif fault == "cut":
        image.write_bytes(image.read_bytes()[:-200])
    else:
        image.write_text("<html>not found</html>" if fault == "text" else "")
    before = tree(tiny)
    refused(train, "config=tiny fold=0", 1, image.name)
    assert_whole(before, tiny)
    assert not list(tiny.rglob("log.csv"))


def test_every_bad_image_is_told_at_once(tiny, refused):
    for name in ("0002.png", "0011.png", "0029.png"):
        (data(tiny) / "train" / name).write_bytes(b"")
    refused(train, "config=tiny", 1, "0002.png", "0011.png", "0029.png")


def test_an_unknown_label_in_the_sample_is_named_with_its_line(tiny, refused):
    labels = ["blue", "green", "red", "purple", "blue"] * 3
    edit(data(tiny) / "sample_submission.csv", lambda table: table.assign(colour=labels))
    before = tree(tiny)
    refused(train, "config=tiny", 1, "sample_submission.csv", "line 5", "'purple'")
    assert_whole(before, tiny)


def test_an_id_of_the_sample_that_is_no_test_image_is_named(tiny, refused):
    sample = data(tiny) / "sample_submission.csv"
    shutil.copyfile(sample, data(tiny) / "test.csv")
    card = tiny / "competition" / "tiny" / "card.yaml"
    card.write_text(card.read_text().replace("test: {table: sample_submission.csv", "test: {table: test.csv"))
    edit(sample, lambda table: table.replace({"image_id": {"0503": "9999"}}))
    before = tree(tiny)
    refused(train, "config=tiny", 1, "sample_submission.csv", "'9999'")
    assert_whole(before, tiny)


def test_an_id_that_stands_twice_in_the_training_table_is_named(tiny, refused):
    def twice(table: pd.DataFrame) -> pd.DataFrame:
        row = table[table["image_id"] == "0001"].assign(colour="red")
        return pd.concat([table, row])

    edit(data(tiny) / "train.csv", twice)
    before = tree(tiny)
    refused(train, "config=tiny", 1, "'0001'", "label")
    assert_whole(before, tiny)


def test_an_empty_label_is_named_with_its_line(tiny, refused):
    def emptied(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[7, "colour"] = ""
        return table

    edit(data(tiny) / "train.csv", emptied)
    before = tree(tiny)
    refused(train, "config=tiny", 1, "train.csv", "line 9", "colour", "empty-label")
    assert_whole(before, tiny)


def test_a_column_that_the_card_names_and_the_table_lacks(tiny, refused):
    edit(data(tiny) / "train.csv", lambda table: table.rename(columns={"colour": "color"}))
    refused(train, "config=tiny", 1, "train.csv", "'colour'", "color")


def test_a_table_that_is_missing_or_no_table(tiny, refused):
    table = data(tiny) / "train.csv"
    table.write_bytes(b"\x00\xff\xfe\x80" * 100)
    refused(train, "config=tiny", 1, "train.csv")
    table.unlink()
    refused(train, "config=tiny", 1, "train.csv")


def test_a_training_table_of_one_class_is_refused(tiny, refused):
    edit(data(tiny) / "train.csv", lambda table: table.assign(colour="blue"))
    refused(train, "config=tiny", 1, "one-class", "tiny")


def test_more_folds_than_rows(tiny, refused):
    refused(train, "config=tiny data.folds=46", 1, "45", "46 folds", "data.folds")


def test_a_card_with_an_unknown_key(tiny, refused):
    card = tiny / "competition" / "tiny" / "card.yaml"
    card.write_text(card.read_text() + "metrik: accuracy\n")
    refused(train, "config=tiny", 2, "card.yaml", "metrik")


def test_answers_kept_apart_that_are_not_there(trained, refused):
    """Told at once: not only when folds have been trained for hours."""
    (trained / "competition" / "tiny" / "answers" / "test.csv").unlink()
    before = tree(trained)
    refused(predict, "--tta config=tiny", 1, "answers/test.csv", "test_labels")
    refused(train, "config=tiny run=anew fold=0", 1, "answers/test.csv", "test_labels")
    assert_whole(before, trained)


# The archive


@pytest.fixture
def zipped(tiny: Path, monkeypatch) -> Path:
    """Competition `zipped`, whose data come from zipped.zip: not yet there. Gives the folder of the competition."""
    folder = tiny / "competition" / "zipped"
    folder.mkdir()
    card = (tiny / "competition" / "tiny" / "card.yaml").read_text().replace("test_labels: answers/test.csv\n", "")
    (folder / "card.yaml").write_text(f"{card}archive: zipped.zip\n")
    (tiny / "elsewhere").mkdir()
    monkeypatch.setenv("PODIUM_DATA", str(tiny / "elsewhere"))
    return folder


def write_zip(file: Path, home: Path, method: int = zipfile.ZIP_DEFLATED, **more: str) -> None:
    with zipfile.ZipFile(file, "w", method) as archive:
        for path in sorted(data(home).rglob("*.*")):
            archive.write(path, path.relative_to(data(home)))
        for name, text in more.items():
            archive.writestr(name, text)


WORDS = "competition=zipped model=resnet8 images.size=16 train.epochs=1 data.folds=3 fold=0"


def test_an_absent_archive_tells_what_to_put_where(tiny, zipped, refused):
    before = tree(tiny)
    refused(train, WORDS, 1, "zipped.zip", str(zipped), "PODIUM_DATA", str(tiny / "elsewhere"))
    assert_whole(before, tiny)
    write_zip(tiny / "elsewhere" / "zipped.zip", tiny)
    assert train(WORDS.split(" ")) == 0


@pytest.mark.parametrize("name", ["../evil.txt", "train/../../evil.txt", "/tmp/evil-of-podium.txt", "..\\evil.txt"])
def test_an_archive_that_would_leave_its_folder_is_not_unpacked(tiny, zipped, refused, name):
    write_zip(zipped / "zipped.zip", tiny, **{name: "evil"})
    before = tree(tiny)
    refused(train, WORDS, 1, "zipped.zip", "archive-leaves-folder")
    assert_whole(before, tiny)
    assert not list(tiny.parent.rglob("*evil*.txt")) and not Path("/tmp/evil-of-podium.txt").exists()
    assert sorted(path.name for path in zipped.iterdir() if path.name != "lock") == ["card.yaml", "zipped.zip"]


def spoil_middle(content: bytes) -> bytes:
    """Bytes of the first member's content, overwritten."""
    return content[:60] + b"\xff" * 30 + content[90:]


@pytest.mark.parametrize(
    ("method", "spoil"),
    [
        pytest.param(zipfile.ZIP_STORED, spoil_middle, marks=pytest.mark.slow),
        (zipfile.ZIP_DEFLATED, spoil_middle),
        (zipfile.ZIP_DEFLATED, lambda content: content[: len(content) // 2]),
        pytest.param(zipfile.ZIP_DEFLATED, lambda content: b"<html>sign in</html>", marks=pytest.mark.slow),
        pytest.param(zipfile.ZIP_DEFLATED, lambda content: b"", marks=pytest.mark.slow),
    ],
    ids=["stored", "deflated", "cut", "html", "empty"],
)
def test_a_damaged_archive_is_named_and_a_whole_one_then_taken(tiny, zipped, refused, method, spoil):
    file = zipped / "zipped.zip"
    write_zip(file, tiny, method)
    file.write_bytes(spoil(file.read_bytes()))
    before = tree(tiny)
    refused(train, WORDS, 1, "zipped.zip", "damaged-archive")
    assert_whole(before, tiny)
    assert not (zipped / "data").exists() and not (zipped / ".data.part").exists()
    write_zip(file, tiny, method)
    assert train(WORDS.split(" ")) == 0


# Folders that cannot be written, and full disks


@pytest.mark.parametrize("blocked", ["submissions", "submissions/tiny", "runs", "runs/tiny", "competition/tiny/cache"])
def test_a_folder_that_cannot_be_made_is_told_before_training(tiny, refused, blocked):
    (tiny / blocked).parent.mkdir(exist_ok=True)
    (tiny / blocked).write_text("a file in the folder's place")
    before = tree(tiny)
    refused(train, "config=tiny fold=0", 1, str(tiny / blocked))
    assert_whole(before, tiny)
    assert not list(tiny.rglob("log.csv"))


@pytest.mark.parametrize("blocked", ["submissions", "submissions/tiny"])
def test_a_folder_that_cannot_be_made_is_told_by_prediction(trained, refused, blocked):
    shutil.rmtree(trained / blocked)
    (trained / blocked).write_text("a file in the folder's place")
    before = tree(trained)
    refused(predict, "--tta config=tiny", 1, str(trained / blocked))
    assert_whole(before, trained)


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A real small disk in the folder's place; gives a function that makes it larger."""

    def mount(options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(words, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small disk can be mounted here: {getattr(error, 'stderr', None) or error}")

    folder.mkdir(parents=True, exist_ok=True)
    mount(f"size={size}")
    try:
        yield lambda larger: mount(f"remount,size={larger}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


# A checkpoint of the tiny network takes 1.4 MB, its weights 0.35 MB: these disks are full at different files.
@pytest.mark.parametrize(
    "size",
    ["300k", "2900k", *(pytest.param(size, marks=pytest.mark.slow) for size in ("4k", "1600k", "3200k", "3600k"))],
)
def test_training_on_a_full_disk_goes_on_when_there_is_room(tiny, once_trained, refused, size):
    with disk(tiny / "runs", size) as grow:
        refused(train, "config=tiny", 1, "disk-full")
        files = {path.name: path for path in (tiny / "runs").rglob("*") if path.is_file()}
        assert not [name for name in files if name.endswith(".part")]
        for done in (tiny / "runs").rglob("done.json"):
            assert (done.parent / "model.safetensors").exists()
        grow("100m")
        assert train(["config=tiny"]) == 0
        for fold in (0, 1, 2):
            weights = Path("runs", "tiny", "tiny", "seed0", f"fold{fold}", "model.safetensors")
            assert (tiny / weights).read_bytes() == (once_trained / weights).read_bytes()


def test_no_half_submission_on_a_full_disk(trained, refused):
    expected = (trained / "submissions" / "tiny" / "tiny.csv").read_bytes()
    shutil.rmtree(trained / "submissions" / "tiny")
    with disk(trained / "submissions" / "tiny", "4k") as grow:  # room for one of its two files
        refused(predict, "--tta config=tiny", 1, "disk-full")
        assert list((trained / "submissions" / "tiny").iterdir()) == []
        grow("1m")
        assert predict(["--tta", "config=tiny"]) == 0
        assert (trained / "submissions" / "tiny" / "tiny.csv").read_bytes() == expected


@pytest.mark.parametrize("size", ["400k", pytest.param("3700k", marks=pytest.mark.slow)])
def test_the_demo_on_a_full_disk_leaves_no_half_competition(home, refused, size):
    """Its images take some 3.5 MB; with 3700k the cache does not fit any more, or the last images do not."""
    with disk(home / "competition", size) as grow:
        refused(train, "fold=0 train.epochs=1", 1, "disk-full")
        digits = home / "competition" / "demo-digits" / "data"
        assert not digits.exists() or all(path.stat().st_size > 60 for path in digits.rglob("*.png"))
        grow("100m")
        assert train(["fold=0", "train.epochs=1"]) == 0


# Runs that were changed after training


def test_a_run_of_other_rows_is_refused(trained, refused):
    table = data(trained) / "train.csv"
    original = table.read_bytes()
    edit(table, lambda rows: rows.iloc[1:])
    before = tree(trained)
    for door in (train, predict):
        message = refused(door, "config=tiny", 1, "run tiny", "run-folds-differ")
        assert "name" in message.lower()
    assert_whole(before, trained)
    table.write_bytes(original)
    assert predict(["config=tiny"]) == 0


def test_a_corrected_label_is_another_table(trained, refused):
    def corrected(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[0, "colour"] = "green" if rows.loc[0, "colour"] != "green" else "red"
        return rows

    edit(data(trained) / "train.csv", corrected)
    refused(predict, "config=tiny", 1, "run tiny", "run-folds-differ")


def member(home: Path, fold: int) -> Path:
    return home / "runs" / "tiny" / "tiny" / "seed0" / f"fold{fold}"


def test_damaged_weights_are_named(trained, refused):
    weights = member(trained, 1) / "model.safetensors"
    whole = weights.read_bytes()
    changed = bytearray(whole)
    changed[-5] ^= 1
    spoilt = [whole[:1000], b"", bytes(changed), (member(trained, 0) / "model.safetensors").read_bytes()]
    for content in spoilt:
        weights.write_bytes(content)
        before = {path: content for path, content in tree(trained).items() if "vflip" not in path}
        refused(predict, "--tta config=tiny predict.views=[identity,vflip]", 1, str(weights), "weights-")
        assert {path: content for path, content in tree(trained).items() if "vflip" not in path} == before
        assert not list(member(trained, 1).rglob("*vflip*"))
    # The remedy.
    shutil.rmtree(member(trained, 1))
    assert train(["config=tiny", "fold=1"]) == 0
    assert weights.read_bytes() == whole
    assert predict(["--tta", "config=tiny", "predict.views=[identity,vflip]"]) == 0


@pytest.mark.parametrize("table", ["oof-identity", "test-identity", "test-hflip"])
def test_a_damaged_table_of_logits_is_named(trained, refused, table):
    file = member(trained, 2) / "logits" / f"{table}.npz"
    latest = trained / "submissions" / "tiny" / "tiny.csv"
    expected, whole = latest.read_bytes(), file.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], b"", b"no table", whole[:200] + b"\x00" * 50 + whole[250:], whole[:-30]):
        file.write_bytes(content)
        before = tree(trained)
        refused(predict, "--tta config=tiny", 1, str(file))
        assert_whole(before, trained)
    file.unlink()
    assert predict(["--tta", "config=tiny"]) == 0
    assert latest.read_bytes() == expected


# A reader that goes away


def test_a_reader_that_goes_away_is_no_traceback(trained):
    """As in `python -m src.predict ... | head -1`: what is printed last finds nobody."""
    words = [warm_python(), "-m", "src.predict", "--tta", "config=tiny"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment["PODIUM_HOME"] = str(trained)
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    complaint = process.stderr.read()
    assert process.wait(timeout=60) in (0, 1)
    assert complaint == ""
    process.stderr.close()
    assert predict(["--tta", "config=tiny"]) == 0
