"""python -m src.prepare: archives, what it detects and what it refuses to guess, and the look before training."""

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import threading
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from src import prepare
from src.competition.card import load_card
from src.competition.detect.sniff import sniff
from src.competition.folds import freeze_folds
from src.competition.quality import image_index
from src.competition.quality.cleaning import inspect
from src.competition.quality.duplicates import RADIUS, Pairs, clusters, find_pairs, near
from src.competition.quality.image_index import index_images
from src.competition.samples import load_samples
from src.competition.sources.archives import unpack
from src.competition.sources.data_folder import bring
from src.core.console import messages_to
from src.core.errors import Busy, Problem
from src.core.files import read_json
from src.core.locks import locked, waiting_lock
from src.core.paths import REPOSITORY, competition_folder, runs_folder
from tests.fixtures.codes import raises
from tests.fixtures.codes import refused as command_refused
from tests.fixtures.layouts import BUILDERS, csv, numbers, picture, save
from tests.fixtures.notes import Notes, names_it
from tests.fixtures.warm_python import warm_python


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path / "nothing"))
    return tmp_path / "home"


@pytest.fixture
def host(tmp_path):
    """A plain competition: 30 training images, 8 test images under the same numbers, three classes."""
    folder = tmp_path / "insects"
    for k in range(30):
        save(folder / "train" / f"{k}.png", picture(k % 3, k))
    for k in range(8):
        save(folder / "test" / f"{k}.png", picture(k % 3, 500 + k))
    kinds = [("bee", "fly", "wasp")[k % 3] for k in range(30)]
    csv(folder / "train.csv", pd.DataFrame({"id": range(30), "kind": kinds}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": range(8), "kind": "bee"}))
    return folder


def refused(capsys, error, *words, names=()):
    """What the command says when it stops with this error, naming these."""
    return command_refused(capsys, prepare.main, words, error, *names)


# Archives


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:\\x", "..\\x"])
def test_names_that_leave_the_folder(tmp_path, name):
    archive = zip_of(tmp_path / "a.zip", {"good.txt": "1", name: "2"})
    with raises("archive-leaves-folder"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.addfile(tarfile.TarInfo(name), io.BytesIO())
    with raises("archive-leaves-folder"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("passwords")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    with raises("archive-link", "passwords"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    entry = zipfile.ZipInfo("passwords")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with raises("archive-link", "passwords"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_broken_and_foreign_archives(tmp_path):
    whole = zip_of(tmp_path / "a.zip", {"a.txt": "x" * 5000}).read_bytes()
    for name, data, code in (
        ("cut.zip", whole[: len(whole) // 2], "damaged-archive"),
        ("cut.tar.gz", b"\x1f\x8b\x08\x00cut", "damaged-archive"),
        ("a.7z", b"7z", "archive-kind"),
    ):
        (tmp_path / name).write_bytes(data)
        with raises(code):
            unpack(tmp_path / name, tmp_path / "out")


def test_space_is_checked_before_anything_is_written(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "a.zip", {"a.txt": "x" * 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with raises("disk-full"):
        bring(archive, tmp_path / "c")
    assert not (tmp_path / "c" / "data").exists()


def test_archives_in_archives(tmp_path):
    inner = zip_of(tmp_path / "train.zip", {"train/1.txt": "one", "__MACOSX/._1.txt": "litter"})
    flat = zip_of(tmp_path / "test.zip", {"2.txt": "two"})
    table = zip_of(tmp_path / "train.csv.zip", {"train.csv": "id\n1\n"})
    outer = zip_of(
        tmp_path / "outer.zip",
        {"deep/train.zip": inner.read_bytes(), "deep/test.zip": flat.read_bytes(), "train.csv.zip": table.read_bytes()},
    )
    data = bring(outer, tmp_path / "c")
    found = sorted(str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() and path.name[0] != ".")
    assert found == ["deep/test/2.txt", "deep/train/1.txt", "train.csv"]


def test_a_folder_is_linked_and_left_as_it_is(host, tmp_path):
    (host / "__MACOSX").mkdir()
    (host / "__MACOSX" / "x.png").write_bytes(b"litter")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in host.rglob("*") if path.is_file()}
    data = bring(host, tmp_path / "c")
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in host.rglob("*") if path.is_file()}
    assert before == after
    assert (data / "train" / "0.png").samefile(host / "train" / "0.png")
    assert not (data / "__MACOSX").exists()


def test_a_failed_unpacking_leaves_nothing(tmp_path):
    broken = zip_of(tmp_path / "a.zip", {"good.txt": "1", "train.zip": "no zip"})
    with pytest.raises(Problem):
        bring(broken, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    (tmp_path / "mine").mkdir()  # what was there before stays
    with pytest.raises(Problem):
        bring(broken, tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_who_waits_for_a_lock_that_goes_holds_the_new_one(tmp_path):
    lock, waits, held, done = tmp_path / "c" / "lock", *(threading.Event() for _ in range(3))

    def second():
        with waiting_lock(lock, "", tidy=True):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=second)
    told = messages_to(lambda text, code: waits.set() if code == "waiting" else None)
    with told, waiting_lock(lock, "", tidy=True):
        thread.start()
        assert waits.wait(10)
    assert held.wait(10)
    with pytest.raises(Busy), locked(lock, str):
        pass
    done.set()
    thread.join()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        *((name, b"\x89PNG", "bad-source") for name in ("some.py", "a.png", "x.pdf", "bare")),
        *((f"x.{kind}", b"\x89PNG 1", "damaged-archive") for kind in ("tar.xz", "tar", "zip", "gz", "bz2", "xz")),
        ("labels.csv", b"id,kind\n1,bee\n2,fly\n", "no-images"),
        ("empty.zip", b"PK\5\6" + bytes(18), "no-images"),
        ("pipe", None, "bad-source"),
        ("pipe.zip", None, "bad-source"),
        ("link.zip", "nothing", "no-such-source"),
        ("absent.zip", "", "no-such-source"),
    ],
)
def test_a_source_that_is_none(tmp_path, home, capsys, name, content, code):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        os.mkfifo(path)
    elif content:
        path.symlink_to(content)
    assert prepare.main([str(path), "id=x", "--json"]) != 0
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["code"] == code and ("\n" not in told["message"] or name == "labels.csv")
    assert not (home / "competition" / "x").exists()


# The door


def test_help_and_words_that_are_wrong(host, capsys):
    refused(capsys, "unknown-key", host, "metrik=auc", names=["metric?"])
    refused(capsys, "unknown-flag", host, "--fast", names=["--fast"])
    refused(capsys, "one-source")
    refused(capsys, "given-twice", host, "metric=auc", "metric=f1", names=["metric"])
    refused(capsys, "bad-name", host, "id=../x", names=["../x"])
    refused(capsys, "no-such-source", "no/such.zip", names=["no/such.zip"])
    refused(capsys, "unknown-target", host, "target=tertiary", names=["target"])
    refused(capsys, "no-such-table", host, "train.table=trian.csv", names=["trian.csv"])


def test_the_door_runs_as_a_command(host, home):
    line = [warm_python(), "-m", "src.prepare", str(host), "id=bugs"]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "./run.sh fold=0..4 competition=bugs" in done.stdout
    assert (home / "competition" / "bugs" / "card.yaml").is_file()


def test_a_card_is_never_overwritten(host, capsys, notes):
    assert prepare.main([str(host)]) == 0
    card = competition_folder("insects") / "card.yaml"
    card.write_text(card.read_text().replace("title: insects", "title: mine"))
    assert prepare.main([str(host)]) == 0
    assert load_card("insects").title == "mine"
    refused(capsys, "card-exists", host, "metric=macro_f1", names=["metric"])
    notes.clear()
    assert prepare.main(["insects"]) == 0  # a look at what is here
    assert notes.texts("card-kept", card)


def test_what_is_given_wins(host):
    words = ["title=Bugs of the year", "metric=macro_f1", "classes=[wasp, fly, bee]", "submission.kind=ranked"]
    assert prepare.main([str(host), *words]) == 0
    card = load_card("insects")
    assert (card.title, card.metric, card.classes, card.submission.kind) == (
        "Bugs of the year",
        "macro_f1",
        ["wasp", "fly", "bee"],
        "ranked",
    )
    assert load_samples(card).classes == ("wasp", "fly", "bee")
    assert re.search(r"^metric: macro_f1 +# given\b", (card.folder / "card.yaml").read_text(), re.M)


def test_a_given_template_and_an_empty_folder(host, capsys, tmp_path):
    assert prepare.main([str(host), "train.images=train/{id}.*"]) == 0
    assert load_card("insects").train.images == "train/{id}.*"
    (tmp_path / "empty").mkdir()
    refused(capsys, "no-images", tmp_path / "empty")


def test_a_source_that_is_not_what_was_taken(host, tmp_path, capsys):
    other = BUILDERS["grades"](tmp_path / "grades").source
    assert prepare.main([str(host), "id=mine"]) == 0
    refused(capsys, "data-of-other-source", other, "id=mine", names=[str(host), "id=NAME"])
    csv(host / "train.csv", pd.DataFrame({"id": range(30), "kind": ["bee", "wasp"] * 15}))
    refused(capsys, "data-of-other-source", host, "id=mine", names=[str(host)])
    refused(capsys, "name-taken", host, "id=demo-digits", names=["demo-digits"])
    by_hand = competition_folder("by_hand") / "data"
    save(by_hand / "train" / "a.png", picture(0, 0))
    refused(capsys, "data-of-other-source", host, "id=by_hand", names=[str(by_hand)])
    assert (by_hand / "train" / "a.png").is_file()


def test_a_source_is_taken_anew_until_there_is_a_card(host, capsys, notes):
    (host / "train" / "7.png").rename(host / "gone.bin")
    folder = competition_folder("insects")
    refused(capsys, "undecided", host, names=[str(folder / "data")])
    (host / "gone.bin").rename(host / "train" / "7.png")
    assert prepare.main([str(host)]) == 0
    assert notes.texts("data-taken-anew")
    assert len(load_samples(load_card("insects")).train) == 30


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_missing_is_brought_back_from_the_same_source(host, tmp_path, packed):
    source = shutil.make_archive(tmp_path / "packed", "zip", host) if packed else host
    assert prepare.main([str(source), "id=insects"]) == 0
    data = load_card("insects").data
    (data / "own.txt").write_text("mine")
    gone = ("test/3.png", "train/7.png", "sample_submission.csv")
    for name in gone:
        (data / name).unlink()
    before = (data / "train" / "8.png").stat().st_ino
    assert prepare.main([str(source), "id=insects"]) == 0
    assert [(data / name).read_bytes() for name in gone] == [(host / name).read_bytes() for name in gone]
    assert (data / "own.txt").read_text() == "mine" and (data / "train" / "8.png").stat().st_ino == before


@pytest.mark.parametrize(
    ("words", "error", "names"),
    [
        (["metric=foo"], "unknown-metric", ["'foo'"]),
        (["metric=auc"], "unfit-for-target", ["'auc'", "multiclass"]),
        (["submission.kind=probability", "metric=accuracy"], "submission-kind", [" 3 "]),
        (["submission.separator=;"], "one-column", ["'id,kind'", "';'"]),
        (["submission.separator=ab"], "bad-card", ["submission.separator", "'ab'"]),
        (["group=[a, b]"], "bad-card", ["group", "['a', 'b']"]),
        (["validation.table=train.csv"], "bad-card", ["validation.id=..."]),
        (["submission.kind=ranked", "submission.label_separator=e"], "label-separator", ["'bee'", "'e'"]),
    ],
)
def test_no_card_that_the_next_command_refuses(host, capsys, words, error, names):
    refused(capsys, error, host, *words, names=names)
    assert not (competition_folder("insects") / "card.yaml").exists()


def test_a_column_for_each_class_is_no_label(tmp_path, capsys):
    built = BUILDERS["breeds"](tmp_path / "breeds")
    refused(capsys, "submission-kind", built.source, "submission.kind=label", names=["submission.kind"])


def test_group_none_switches_the_groups_off(tmp_path):
    built = BUILDERS["tubes"](tmp_path / "tubes")
    assert prepare.main([str(built.source)]) == 0
    assert prepare.main([str(built.source), "id=free", "group=none"]) == 0
    assert (load_card("tubes").group, load_card("free").group) == ("PatientID", None)


def test_classes_that_differ_in_capitals_are_told_of(host, notes):
    kinds = [("cat", "Cat", "NA")[k % 3] for k in range(30)]
    csv(host / "train.csv", pd.DataFrame({"id": range(30), "kind": kinds}))
    csv(host / "sample_submission.csv", pd.DataFrame({"id": range(8), "kind": "NA"}))
    assert prepare.main([str(host), "id=merged"]) == 0
    assert notes.take().texts("guess", "'cat'", "'Cat'", 10, "classes=[cat, Cat, NA]")
    assert prepare.main([str(host), "id=apart", "classes=[cat, Cat, NA]"]) == 0
    merged, apart = load_card("merged"), load_card("apart")
    assert (load_samples(merged).counts.tolist(), merged.target) == ([10, 20], "binary")
    assert (load_samples(apart).counts.tolist(), apart.target) == ([10, 10, 10], "multiclass")


def test_images_that_belong_to_no_part(tmp_path, capsys, notes):
    folder = tmp_path / "rocks"
    for k in range(30):
        save(folder / "pics" / f"a{k}.png", picture(k % 3, k))
    for k in range(6):
        save(folder / "later" / f"b{k}.png", picture(k % 3, 50 + k))
    csv(folder / "labels.csv", pd.DataFrame({"name": [f"a{k}.png" for k in range(30)], "rock": ["x", "y", "z"] * 10}))
    assert prepare.main([str(folder)]) == 0
    assert notes.texts("no-test-images")
    assert notes.texts("files-set-aside", 6, "later/", "test.files='later/{file}'")
    assert len(notes.take().texts("guess", "confirm=metric")) == 1
    assert prepare.main([str(folder), "id=whole", "test.files=later/{file}"]) == 0
    assert not notes.texts("files-set-aside", "later/")
    assert load_samples(load_card("whole")).test["id"].tolist() == [f"b{k}.png" for k in range(6)]
    refused(capsys, "pattern-without-files", folder, "id=wrong", "test.files=never/{file}", names=["never/{file}"])


def test_small_images_are_told_of_in_the_overview_alone(host, notes):
    assert prepare.main([str(host)]) == 0
    assert notes.texts("images-small", 32)
    card = load_card("insects")
    assert "images-small" not in Notes(inspect(card, load_samples(card)).notes).codes


@pytest.mark.parametrize(
    ("answers", "separator", "guessed"),
    [
        (["red fox|cat", "owl"], "|", False),
        (["red fox, cat", "owl"], ", ", False),
        (["owl", "cat"], "|", True),
        (["owl;cat", "cat"], ";", False),
    ],
)
def test_what_parts_the_classes_in_the_sample(host, answers, separator, guessed):
    kinds = [("red fox|cat", "owl|red fox", "owl", "cat", "red fox")[k % 5] for k in range(30)]
    csv(host / "train.csv", pd.DataFrame({"id": range(30), "kind": kinds}))
    csv(host / "sample_submission.csv", pd.DataFrame({"id": range(8), "kind": answers * 4}))
    assert prepare.main([str(host)]) == 0
    card = load_card("insects")
    assert (card.submission.kind, card.submission.label_separator) == ("set", separator)
    text = (card.folder / "card.yaml").read_text()
    line = text[text.index("submission:") :].partition("label_separator:")[2].splitlines()[0]
    assert ("guess" in line) is guessed


# What it refuses to guess


def test_missing_images_show_the_rules(host, capsys):
    (host / "train" / "7.png").unlink()
    told = refused(capsys, "undecided", host)
    assert "train/{id}.png" in told
    assert "29 of 30" in told
    assert "on_bad_image=drop" in told
    assert not (competition_folder("insects") / "card.yaml").exists()
    assert prepare.main([str(host), "on_bad_image=drop"]) == 0
    assert len(load_samples(load_card("insects")).train) == 29


def test_two_folders_that_fit_alike(host, capsys):
    for path in (host / "train").iterdir():
        save(host / "masks" / path.name, picture(0, 1))
    (host / "train").rename(host / "images")
    told = refused(capsys, "undecided", host)
    assert "images/{id}.png" in told
    assert "masks/{id}.png" in told
    assert prepare.main([str(host), "train.images=images/{id}.png"]) == 0


def test_two_training_tables(host, capsys):
    (host / "train_more.csv").write_bytes((host / "train.csv").read_bytes())
    told = refused(capsys, "undecided", host)
    assert "train_more.csv" in told
    assert prepare.main([str(host), "train.table=train.csv"]) == 0


def test_table_and_folders_that_disagree(tmp_path, capsys):
    built = BUILDERS["paddy"](tmp_path / "paddy")
    table = pd.read_csv(tmp_path / "paddy" / "train.csv", dtype=str)
    table.loc[3, "label"] = next(name for name in built.classes if name != table["label"][3])
    csv(tmp_path / "paddy" / "train.csv", table)
    refused(capsys, "undecided", built.source, names=["1 of 72"])
    assert prepare.main([str(built.source), "train.label=label"]) == 0


def test_two_columns_that_could_be_the_label(host, capsys):
    table = pd.read_csv(host / "train.csv").assign(species=["a", "b"] * 15).rename(columns={"kind": "category"})
    csv(host / "train.csv", table)
    csv(host / "sample_submission.csv", pd.DataFrame({"id": range(8), "answer": ""}))
    refused(capsys, "undecided", host, names=["train.label"])
    assert prepare.main([str(host), "train.label=species"]) == 0
    assert load_samples(load_card("insects")).classes == ("a", "b")


def test_ids_of_the_sample_that_no_test_row_has(host, capsys):
    csv(host / "test.csv", pd.DataFrame({"id": range(8), "kind_of_light": "day"}))
    csv(host / "sample_submission.csv", pd.DataFrame({"id": [f"x{k * 7}" for k in range(8)], "kind": "bee"}))
    refused(capsys, "undecided", host)


def test_no_label_anywhere(tmp_path, capsys):
    for k in range(12):
        save(tmp_path / "photos" / f"{hashlib.md5(str(k).encode()).hexdigest()}.png", picture(0, k))
    refused(capsys, "undecided", tmp_path / "photos", names=["train.files=PATTERN"])


def test_an_unknown_label_in_the_sample(host, capsys):
    csv(host / "sample_submission.csv", pd.DataFrame({"id": range(8), "kind": ["bee", "ant"] * 4}))
    refused(capsys, "unknown-class", host, names=["'ant'"])


# The look before training


def test_the_overview(host, notes):
    save(host / "train" / "30.png", np.zeros((24, 24, 3), np.uint8))
    (host / "train" / "31.png").write_bytes(b"broken")
    (host / "train" / "32.png").write_bytes((host / "train" / "0.png").read_bytes())
    (host / "train" / "33.png").write_bytes((host / "test" / "1.png").read_bytes())
    kinds = [("bee", "fly", "wasp")[k % 3] for k in range(30)] + ["bee", "bee", "wasp", "fly"]
    csv(host / "train.csv", pd.DataFrame({"id": range(34), "kind": kinds}))
    assert prepare.main([str(host)]) == 0
    facts = read_json(runs_folder("insects") / "overview.json")
    assert facts["classes"] == {"bee": 12, "fly": 11, "wasp": 11}
    assert facts["sizes"]["width"] == [24, 24, 24]
    assert [path.rpartition("/")[2] for path in facts["unreadable"]] == ["31.png"]
    assert [path.rpartition("/")[2] for path in facts["blank"]] == ["30.png"]
    doubles = facts["duplicates"]
    assert (doubles["equal_files"], doubles["across_labels"], doubles["between_train_and_test"]) == (2, 1, 1)
    assert notes.texts("images-unreadable", 1, "on_bad_image:")


def photo(seed, size=96):
    """A smooth random picture, as a photograph is."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


def jpeg(path, image, quality):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    return str(path)


def test_near_duplicates_are_found_and_others_not(tmp_path):
    images = [photo(k) for k in range(60)]
    paths = [jpeg(tmp_path / "data" / f"a{k:02d}.jpg", image, 95) for k, image in enumerate(images)]
    changed = [
        jpeg(tmp_path / "data" / "b0.jpg", images[0], 40),
        jpeg(tmp_path / "data" / "b1.jpg", cv2.resize(images[1], (61, 61)), 90),
        jpeg(tmp_path / "data" / "b2.jpg", images[2][2:-1, 1:-2], 90),
        jpeg(tmp_path / "data" / "b3.jpg", np.clip(images[3].astype(int) + 9, 0, 255).astype(np.uint8), 90),
        jpeg(tmp_path / "data" / "b4.jpg", cv2.resize(images[4], (900, 600)), 90),  # decoded reduced
    ]
    look = index_images([*paths, *changed], tmp_path / "cache")
    found = {tuple(look.paths[k].rpartition("/")[2] for k in pair) for pair in find_pairs(look).rows}
    assert found == {(f"a0{k}.jpg", f"b{k}.jpg") for k in range(5)}
    assert look.size[-1].tolist() == [600, 900]


def test_the_search_finds_every_pair_within_the_radius():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, 3000, dtype=np.uint64)
    for k in range(500):
        for bit in rng.choice(64, k % 14, replace=False):
            hashes[2999 - k] = hashes[2999 - k] ^ (np.uint64(1) << np.uint64(bit)) if bit else hashes[k]
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = {tuple(pair) for pair in np.argwhere(distances <= RADIUS) if pair[0] < pair[1]}
    found = set(map(tuple, near(hashes)[0]))
    assert found == wanted
    assert len(wanted) > 50


def test_a_look_is_kept_and_changed_files_are_looked_at_again(tmp_path, notes):
    paths = [jpeg(tmp_path / "data" / f"{k}.jpg", photo(k), 90) for k in range(3)]
    first = index_images(paths, tmp_path / "cache")
    jpeg(tmp_path / "data" / "1.jpg", photo(9, size=80), 90)
    second = index_images(paths, tmp_path / "cache")
    assert [re.findall(r"\d+", text) for text in notes.texts("images-looked-at")] == [["3"], ["1"]]
    assert (first.hash == second.hash).tolist() == [True, False, True]
    assert second.size[1].tolist() == [80, 80]


def bitmaps(folder):
    """Three images of one size in bytes."""
    paths = [folder / f"{k}.bmp" for k in range(3)]
    for k, path in enumerate(paths):
        save(path, photo(k, size=40))
    return list(map(str, paths))


def exchanged(file, content):
    """Another file of the same size and time in its place."""
    facts = os.stat(file)
    assert len(content) == facts.st_size
    with open(f"{file}.new", "wb") as out:
        out.write(content)
    os.utime(f"{file}.new", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(f"{file}.new", file)


def test_an_image_exchanged_for_one_of_the_same_size_and_time_is_looked_at_again(tmp_path, notes):
    paths = bitmaps(tmp_path / "data")
    first = index_images(paths, tmp_path / "cache")
    exchanged(paths[1], cv2.imencode(".bmp", photo(9, size=40))[1].tobytes())
    second = index_images(paths, tmp_path / "cache")
    assert [re.findall(r"\d+", text) for text in notes.texts("images-looked-at")] == [["3"], ["1"]]
    assert (first.digest == second.digest).tolist() == [True, False, True]
    assert (first.hash == second.hash).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", ["touched", "older", "many"])
def test_a_look_counts_where_only_the_third_time_is_another(tmp_path, monkeypatch, kind, messages):
    """As after a copy to another machine, or a chmod."""
    paths = bitmaps(tmp_path / "data")
    index_images(paths, tmp_path / "cache")
    file = tmp_path / "cache" / "look.npz"
    if kind == "older":
        held = dict(np.load(file))
        np.savez(file, **held | {"stamp": held["stamp"][:, :2]})
    if kind == "many":
        monkeypatch.setattr(image_index, "READ_AGAIN", 10)
    for path in paths:
        os.chmod(path, 0o600)
    messages.clear()
    read, real = [], image_index._digest
    monkeypatch.setattr(image_index, "_digest", lambda path: read.append(path) or real(path))
    for _ in range(2):
        index_images(paths, tmp_path / "cache")
    assert not messages and len(read) == (0 if kind == "many" else 3)
    exchanged(paths[2], cv2.imencode(".bmp", photo(9, size=40))[1].tobytes())
    monkeypatch.undo()
    index_images(paths, tmp_path / "cache")
    assert len(messages) == 1 and names_it(messages[0], 1)


def test_a_look_that_all_share_is_no_cluster():
    chain = np.stack([np.arange(199), np.arange(1, 200)], axis=1)
    of_entry, shared = clusters(Pairs(chain, same=np.arange(199) == 5), 200)
    assert shared == 200
    assert np.flatnonzero(of_entry >= 0).tolist() == [5, 6]


def test_inspect_ties_duplicates_and_sets_broken_test_images_aside(tmp_path, home):
    folder = tmp_path / "photos"
    for k in range(20):
        jpeg(folder / "train" / f"{k}.jpg", photo(k // 2 if k < 4 else k + 50), 95 - k % 2 * 30)
    for k in range(4):
        jpeg(folder / "test" / f"{k}.jpg", photo(200 + k), 90)
    (folder / "test" / "2.jpg").write_bytes(b"")
    csv(folder / "train.csv", pd.DataFrame({"id": range(20), "kind": ["a", "b"] * 10}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": range(4), "kind": "a"}))
    assert prepare.main([str(folder)]) == 0
    stopping = load_card("photos")
    with raises("bad-image", "1 of 4"):
        inspect(stopping, load_samples(stopping))
    card = stopping.model_copy(update={"on_bad_image": "drop"})
    samples = inspect(card, load_samples(card))
    cluster = samples.train["cluster"].tolist()
    assert cluster[0] == cluster[1] != ""
    assert cluster[2] == cluster[3] not in ("", cluster[0])
    assert set(cluster[4:]) == {""}
    assert samples.test_without_image == ("2",)
    assert samples.test["id"].tolist() == ["0", "1", "3"]
    plain = inspect(card, load_samples(card), duplicates=False)
    assert set(plain.train["cluster"]) == {""}
    (card.data / "train" / "5.jpg").unlink()
    (card.data / "train" / "5.jpg").write_bytes(b"broken")
    with raises("bad-image", "1 of 20"):
        inspect(stopping, load_samples(stopping))


def test_extra_rows_that_show_a_held_out_image_are_left_out(tmp_path, home):
    folder = tmp_path / "photos"
    for k in range(10):
        jpeg(folder / "train" / f"{k}.jpg", photo(k), 95)
    for k in range(2):
        jpeg(folder / "test" / f"{k}.jpg", photo(100 + k), 95)
    for k, seed in enumerate((3, 101, 300)):
        jpeg(folder / "web" / f"w{k}.jpg", photo(seed), 50)
    csv(folder / "train.csv", pd.DataFrame({"id": range(10), "kind": ["a", "b"] * 5}))
    csv(folder / "more.csv", pd.DataFrame({"id": ["w0", "w1", "w2"], "kind": ["a", "b", "a"]}))
    csv(folder / "sample_submission.csv", pd.DataFrame({"id": range(2), "kind": "a"}))
    words = ["train.table=train.csv", "extra.web.table=more.csv", "extra.web.id=id"]
    words += ["extra.web.images=web/{id}.jpg", "extra.web.label=kind"]
    assert prepare.main([str(folder), *words]) == 0
    card = load_card("photos")
    samples = inspect(card, load_samples(card, extra=("web",)))
    assert samples.train["id"].tolist()[10:] == ["w2"]
    assert Notes(samples.notes).texts("extra-rows-left-out", 2)


def test_groups_make_the_score_honest(tmp_path):
    """Images of one patient are alike and share a label: whoever splits them apart can look the answer up."""
    from sklearn.neighbors import KNeighborsClassifier

    folder, labels = tmp_path / "clinic", numbers(40, 2)
    for k in range(40):
        for view in range(5):
            noise = np.random.default_rng(k * 10 + view).integers(-20, 20, (24, 24, 3))
            save(
                folder / "train" / f"{k}_{view}.png", np.clip(photo(k, 24).astype(int) + noise, 0, 255).astype(np.uint8)
            )
    rows = [(f"{k}_{view}", f"P{k:03d}", labels[k]) for k in range(40) for view in range(5)]
    csv(folder / "train.csv", pd.DataFrame(rows, columns=["image", "PatientID", "label"]))
    assert prepare.main([str(folder)]) == 0
    card = load_card("clinic")
    assert card.group == "PatientID"
    samples = load_samples(card)
    pixels = np.stack([cv2.imread(path).ravel() for path in samples.train["path"]])

    def score(of_samples):
        folds = freeze_folds(of_samples, 5, 0, tmp_path / "folds")
        right = []
        for fold in range(5):
            train, held = folds.rows(fold)
            model = KNeighborsClassifier(1).fit(pixels[train], samples.targets[train])
            right += (model.predict(pixels[held]) == samples.targets[held]).tolist()
        return np.mean(right)

    plain = replace(samples, train=samples.train.assign(group=""))
    assert score(plain) > 0.95
    assert score(samples) < 0.75


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("id,category,species\n0,bee,a\n1,fly,b\n2,bee,a\n3,fly,b\n", True),
        ("bee,a\nfly,b\nbee,a\nfly,b\n", False),
        ("10_left,0\n10_right,1\n11_left,0\n", False),
        ("0.jpg,bee\n1.jpg,fly\n2.jpg,ant\n", False),
        ("label,pixel0\n1,200\n0,3\n", True),
        ("5,0,255\n7,0,31\n5,9,0\n", False),
        ("image\nIMG_001\nIMG_002\n", True),
        ("IMG_000\nIMG_001\nIMG_002\n", False),
        ("id;kind\n1;a\n2;b\n", True),
    ],
)
def test_whether_a_table_has_a_header(tmp_path, text, header):
    (tmp_path / "t.csv").write_text(text)
    assert sniff(tmp_path / "t.csv", lambda cell: cell.endswith(".jpg")).header is header


def test_names_of_several_words_are_no_lists_unless_the_sample_says_so(host):
    kinds = [("red fox", "red cat", "fox", "red", "cat")[k % 5] for k in range(30)]
    csv(host / "train.csv", pd.DataFrame({"id": range(30), "kind": kinds}))
    csv(host / "sample_submission.csv", pd.DataFrame({"id": range(8), "kind": "red fox cat"}))
    assert prepare.main([str(host), "id=lists"]) == 0
    assert load_samples(load_card("lists")).classes == ("cat", "fox", "red")
    assert prepare.main([str(host), "id=names", "target=multiclass", "submission.kind=label"]) == 0
    assert load_samples(load_card("names")).classes == ("cat", "fox", "red", "red cat", "red fox")


def test_butterflies_hold_near_duplicates(home, monkeypatch):
    source = REPOSITORY.parent / "shared" / "data" / "butterflies-100.zip"
    if not source.is_file():
        pytest.skip("../shared/data/butterflies-100.zip is not here")
    assert prepare.main([str(source)]) == 0
    doubles = read_json(runs_folder("butterflies-100") / "overview.json")["duplicates"]
    assert 150 <= doubles["near"] <= 220
