"""A run's stored configuration: keys that came later, edits, and hashes that stay."""

import json

import pytest
import yaml
from pydantic import Field, create_model

from src.config import schema
from src.config.request import parse
from src.config.schema import Config, Loss, later
from src.predict import main as predict
from src.report import main as report
from src.review import main as review
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.older_runs import without_keys

SHORT = ["config=tiny", "train.epochs=1", "machine.jobs=1", "run=old"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", "1105682b"),
        ("teach.run=x", "7d938eeb"),
        ("train.stages=[{epochs: 2}]", "2c795dee"),
        ("teach.distill=0.1", "1105682b"),
    ],
)
def test_the_hash_of_a_configuration_stays_as_it_was(home, word, expected):
    """Ledgers and searches hold such hashes. A key that comes later is written as schema.later(...)."""
    assert parse(["model=resnet8", *filter(None, [word])]).config.hash() == expected  # the demo as it once was


@pytest.fixture(params=["later", "default"])
def newer(request, monkeypatch):
    """A schema with two more keys of what is learned, as a later version of Podium has it."""
    field = later(0.25) if request.param == "later" else Field(default=0.25)
    loss = create_model("Loss", __base__=Loss, label_noise=(float, field))

    def change() -> type[Config]:
        changed = create_model("Config", __base__=Config, loss=(loss, ...))
        monkeypatch.setattr(schema, "Config", changed)
        return changed

    return change


def test_a_key_that_came_later_changes_nothing(tiny, newer, capsys):
    assert train([*SHORT, "fold=0"]) == 0
    record = json.loads((tiny / "runs/tiny/old/run.json").read_text())
    changed = newer()
    assert "label_noise" in changed.model_fields["loss"].annotation.model_fields
    assert train(["run=old", "fold=1"]) == 0
    assert train([*SHORT, "fold=2"]) == 0  # named by its configuration, too
    assert predict(["run=old"]) == 0
    assert json.loads((tiny / "runs/tiny/old/run.json").read_text()) == record
    capsys.readouterr()
    assert train([*SHORT, "fold=2", "loss.label_noise=0.5"]) == 2  # another value is another run
    assert "loss.label_noise" in capsys.readouterr().err


def test_a_later_key_enters_the_hash_only_where_it_is_used(home, newer):
    before = parse([]).config.hash()
    marked = newer().model_fields["loss"].annotation.model_fields["label_noise"].json_schema_extra
    assert (parse([]).config.hash() == before) == bool(marked)
    assert parse(["loss.label_noise=0.5"]).config.hash() != before


def test_a_run_older_than_some_keys_goes_on(tiny):
    assert train([*SHORT, "fold=0"]) == 0
    without_keys(tiny / "runs/tiny/old", "loss.beta", "data.ignore", "machine.cache_local", "predict.tolerance")
    assert train(["run=old", "fold=1"]) == 0
    assert train([*SHORT, "fold=2"]) == 0


def test_an_edited_configuration_of_a_begun_run_is_refused(tiny):
    assert train([*SHORT, "fold=0"]) == 0
    file = tiny / "runs/tiny/old/config.yaml"
    kept, tree = file.read_text(), yaml.safe_load(file.read_text())
    tree["optim"]["lr"] *= 2
    file.write_text(yaml.safe_dump(tree))
    for main, words in ((train, ["run=old", "fold=1"]), (train, [*SHORT, "fold=1"])):
        assert main(words) != 0
    for main in (predict, report, review):
        with raises("run-config-edited"):
            parse(["run=old"])
        assert main(["run=old"]) == 1
    assert not (tiny / "runs/tiny/old/seed0/fold1").exists()
    file.write_text("# a note of mine\n" + kept)  # comments, and what decides no learning, may be changed
    assert train(["run=old", "fold=1"]) == 0
    tree = yaml.safe_load(kept)
    tree["machine"]["workers"] = 0
    file.write_text(yaml.safe_dump(tree))
    assert train(["run=old", "fold=2"]) == 0


def test_before_anything_is_learned_a_configuration_may_be_edited(tiny):
    folder = tiny / "runs/tiny/old"
    folder.mkdir(parents=True)
    config = parse(SHORT).config
    (folder / "run.json").write_text(json.dumps({"config_hash": "00000000"}))
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump()))
    assert train(["run=old", "fold=0"]) == 0
    assert json.loads((folder / "run.json").read_text())["config_hash"] == config.hash()


def test_another_configuration_under_the_same_name_is_refused(tiny):
    assert train([*SHORT, "fold=0"]) == 0
    assert train([*SHORT, "fold=1", "optim.lr=0.5"]) == 2
