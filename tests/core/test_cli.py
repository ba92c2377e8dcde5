"""The front of the command line: the same grammar, --help and --json for every command, and codes for errors."""

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from src.core.cli import Command, key_values
from src.core.errors import Problem
from src.core.paths import REPOSITORY
from tests.fixtures.codes import raises
from tests.fixtures.notes import Notes
from tests.fixtures.tiny import write_tiny

COMMANDS = {
    "src.run": ["optim.lrr=1"],
    "src.train": ["optim.lrr=1"],
    "src.predict": ["optim.lrr=1"],
    "src.review": ["optim.lrr=1"],
    "src.report": ["optim.lrr=1"],
    "src.sweep": ["optim.lrr=1,2"],
    "src.submit": ["optim.lrr=1"],
    "src.kernel": ["optim.lrr=1"],
    "src.prepare": ["SOURCE", "metrc=auc"],
    "src.export.predict": ["--lrr"],
    "src.export.hidden_test": ["--lrr"],
    "src.launchers.kaggle_notebook.remote_training": ["--lrr"],
}
HEAVY = ("torch", "pandas", "rich", "timm", "sklearn", "matplotlib")


def command(module: str) -> Command:
    return importlib.import_module(module).COMMAND


def said(capfd, module: str, *words: object) -> tuple[int, dict]:
    """The exit code, and the one JSON object that --json leaves on standard output, whoever else writes there."""
    capfd.readouterr()
    code = importlib.import_module(module).main([*map(str, words), "--json"])
    out = capfd.readouterr().out
    assert out.count("\n") == 1, out
    return code, json.loads(out)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_made_of_the_flags(module, capsys):
    assert importlib.import_module(module).main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m {module}")
    for flag in (*command(module)._flags(), "--json", "--help"):
        assert flag in text


@pytest.mark.parametrize(("module", "words"), COMMANDS.items())
def test_an_error_is_one_json_object_with_its_code(module, words, home, capfd):
    (home / "SOURCE").mkdir()
    words = [str(home / word) if word == "SOURCE" else word for word in words]
    code, text = said(capfd, module, *words)
    assert code == 2
    assert text["error"]["code"] == ("unknown-flag" if "--lrr" in words else "unknown-key")
    assert "lrr" in text["error"]["message"] or "metrc" in text["error"]["message"]


def test_what_each_command_found_is_one_json_object(home, capfd, monkeypatch):
    write_tiny(home)
    words = ["config=tiny", "train.epochs=1", "run=r"]
    code, text = said(capfd, "src.train", *words, "fold=0..2", "machine.jobs=2")
    assert code == 0 and [one["fold"] for one in text["members"]] == [0, 1, 2]
    assert Notes(text["notes"]).codes.count("fold-done") == 3, "two processes told the first one"
    assert text["mean_score"] == pytest.approx(sum(one["score"] for one in text["members"]) / 3)

    code, text = said(capfd, "src.predict", *words, "--tta", "--export")
    assert code == 0 and Path(text["submission"]).is_file() and 0 <= text["score"]["value"] <= 1
    csv, exported = text["submission"], text["export"]

    code, text = said(capfd, "src.export.predict", exported, home / "competition/tiny/data/test")
    answers = {Path(one["file"]).stem: one for one in text["answers"]}
    submitted = pd.read_csv(csv, dtype=str).set_index("image_id")
    assert code == 0 and set(answers) == set(submitted.index)
    assert all(answers[name]["answer"] == row.iloc[0] for name, row in submitted.iterrows())
    assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in answers.values())

    code, text = said(capfd, "src.report", *words)
    assert code == 0 and Path(text["page"]).is_file()
    code, text = said(capfd, "src.review", *words)
    assert code == 0 and (Path(text["folder"]) / "review.json").is_file() and "label_issues" in text
    code, text = said(capfd, "src.submit", csv, "--dry-run")
    notes = Notes(text.pop("notes"))
    assert code == 0 and text == {"competition": "tiny", "file": csv, "pushed": False}
    assert notes.codes == ["file-checked", "nothing-sent"] and notes.texts("file-checked", csv)
    code, text = said(capfd, "src.submit", "--history", "competition=tiny")
    assert code == 0 and text["competitions"] == {"tiny": []}
    code, text = said(capfd, "src.prepare", "tiny")
    assert code == 0 and text["competition"] == "tiny" and text["facts"]["metric"] == "accuracy"
    code, text = said(capfd, "src.sweep", "config=tiny", "train.epochs=1", "optim.lr=1e-2,1e-3", "fold=0")
    assert code == 0 and len(text["runs"]) == 2 and (Path(text["folder"]) / "summary.csv").is_file()
    code, text = said(capfd, "src.kernel", *words)
    assert (code, text["error"]["code"]) == (2, "not-at-kaggle")


def test_an_unexpected_failure_is_json_too(home):
    """Its traceback is told on standard error, as without --json."""
    line = "from src import report; report.request_of = lambda *_, **__: 1 / 0; report.main(['--json'])"
    done = subprocess.run([sys.executable, "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "ZeroDivisionError" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "internal"


# Grammar


@pytest.fixture
def made() -> Command:
    command = Command("src.made", "It is made up.", files="[FILE]")
    command.flag("--tta", "views", value="auto")
    command.flag("--again", "again")
    command.flag("-m --message", "a message", value="TEXT", must=True)
    return command


def test_a_flag_does_not_swallow_the_next_word(made):
    line = made.read(["--tta", "fold=0", "--again", "x=1", "file.csv", "-m", "a b=c"])
    assert line.flags == {"--tta": "", "--again": "", "-m": "a b=c"}
    assert line.keys == {"fold": "0", "x": "1"} and line.files == ("file.csv",)
    assert made.read(["fold=0", "--tta=auto", "--message=-5"]).flags == {"--tta": "auto", "-m": "-5"}


def test_a_file_may_have_an_equals_sign_in_its_name(made, tmp_path):
    (tmp_path / "lr=1.csv").touch()
    line = made.read([f"{tmp_path}/lr=1.csv", "lr=1"])
    assert line.files == (f"{tmp_path}/lr=1.csv",) and line.keys == {"lr": "1"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--tt"], "unknown-flag"),  # no abbreviations
        (["-x"], "unknown-flag"),
        (["--again=yes"], "flag-takes-no-value"),
        (["--again", "--again"], "given-twice"),
        (["-m", "a", "-m", "b"], "given-twice"),
        (["a=1", "a=2"], "given-twice"),
        (["-m"], "usage"),
        (["-m", "--again"], "usage"),
        (["=3"], "not-key-value"),
        (["a="], "not-key-value"),
    ],
)
def test_wrong_words_have_codes(made, words, code):
    with raises(code) as caught:
        made.read(words)
    assert caught.value.exit_code == 2


def test_a_misspelt_flag_is_told_with_what_is_near(made):
    with raises("unknown-flag") as caught:
        made.read(["--agian"])
    assert "--again?" in str(caught.value)


def test_a_word_alone_is_not_understood():
    with raises("not-key-value"):
        key_values(["fold"])


# Start


def test_nothing_heavy_is_imported_to_tell_help_or_a_misspelt_key(home):
    """Whatever one of the commands imports is seen in a process that asks all of them."""
    doors = ("src.run", "src.train", "src.predict", "src.sweep", "src.report", "src.review")
    line = f"import importlib, sys\nfor door in {doors}:\n for word in ('--help', 'optim.lrr=1'):\n"
    line += f"  importlib.import_module(door).main([word])\nprint(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "[]"


# Codes


def test_a_code_survives_the_way_from_another_process():
    text = pickle.loads(pickle.dumps(Problem("text", code="a-code")))
    assert (str(text), text.code) == ("text", "a-code")


def test_codes_are_short_and_in_kebab_case():
    found = set()
    for file in (REPOSITORY / "src").rglob("*.py"):
        found |= set(re.findall(r'\bcode\s*=\s*"([^"]*)"', file.read_text()))
        found |= set(re.findall(r'\b[Nn]ote\(\s*"([^"]+)"', file.read_text()))
    assert len(found) > 300
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+){0,5}", code) for code in found)
