"""The report of a run: what stands on the page is what the run folder holds, for every kind of run."""

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.competition.competition import Competition
from src.config.request import parse
from src.inference.logits_store import load_logits
from src.predict import main as predict
from src.report import main as report
from src.reporting.page.charts import Curve, confusion, curves
from src.reporting.run_results import run_results
from src.reporting.sections.calibration import calibration, sureness
from src.reporting.sections.mistakes import mistakes, surest_mistakes
from src.reporting.sections.reproduce import again, same_bits
from src.reporting.sections.trust import trust
from src.reporting.tiles import isolated
from src.submission import ledger
from src.train import main as train
from tests.fixtures import figures
from tests.fixtures.codes import refused
from tests.fixtures.made_up_run import STRANGE, note_prediction, write_many, write_run
from tests.fixtures.notes import names_it
from tests.fixtures.pages import caption, sections
from tests.fixtures.tiny import write_tiny

SECTIONS = ("answer", "data", "seen", "learning", "mistakes", "map", "trust", "again")


def folder_of(home: Path, run: str, competition: str = "many") -> Path:
    return home / "runs" / competition / run


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader reads: without tags, scripts and styles."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def reading(page: str, section: str) -> str:
    found = re.search(rf'<section id="{section}".*?<p class="reading">(.*?)</p>', page, flags=re.S)
    return html.unescape(found[1])


def table(folder: Path, name: str, **options) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""], **options)


def out_of_fold(opened: Competition, folder: Path, view: str = "identity") -> tuple[np.ndarray, np.ndarray]:
    """(rows,) places in the training table and (rows, classes) probabilities, as the store has them."""
    rows, parts = [], []
    for file in sorted(folder.glob(f"seed0/fold*/logits/oof-{view}.npz")):
        stored = load_logits(file, opened.samples.classes)
        rows.append(opened.samples.positions(stored.id))
        parts.append(opened.target.predictions(stored.logits))
    return np.concatenate(rows), np.concatenate(parts)


# A run that was trained


WORDS = ["config=tiny", "train.epochs=1", "optim.lr=1e-3"]


@pytest.fixture(scope="module")
def once_trained(tmp_path_factory) -> Path:
    """Two folds of the tiny competition, too little trained to be right throughout; predicted and reported."""
    home = tmp_path_factory.mktemp("trained")
    write_tiny(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        figures.draw(patch)
        assert train([*WORDS, "fold=0..1"]) == 0 and predict(["--tta", *WORDS]) == 0 and report(WORDS) == 0
    return home


@pytest.fixture
def trained(once_trained, home) -> Path:
    """The run's folder in a home of the test's own."""
    shutil.copytree(once_trained, home, dirs_exist_ok=True)
    return folder_of(home, "tiny+optim.lr=1e-3+train.epochs=1", "tiny")


def test_the_page_of_a_trained_run_tells_what_its_folder_holds(trained, capsys):
    folder = trained / "report"
    page, text = page_of(folder), text_of(page_of(folder))
    scores = table(folder, "scores").set_index(["name", "series"])["value"]
    for fold in (0, 1):
        done = json.loads((trained / f"seed0/fold{fold}/done.json").read_text())
        assert scores[f"fold {fold}", "plain"] == pytest.approx(done["score"])
        assert f"{done['score']:.4f}" in text
    (told,) = [json.loads(file.read_text()) for file in (trained / "predictions").glob("*.json")]
    line = table(folder, "submissions").iloc[0]
    assert (line["file"], line["score"], line["low"]) == (told["file"], told["score"]["value"], told["score"]["low"])
    assert told["file"] in text and f"{told['score']['value']:.4f}" in text
    counted = sum(
        pd.read_csv(trained / f"seed0/fold{fold}/confusion.csv", index_col=0).stack().rename_axis([None, None])
        for fold in (0, 1)
    )
    drawn = table(folder, "confusion").set_index(["truth", "answer"])["images"]
    assert drawn.to_dict() == counted[counted > 0].to_dict()
    loss = table(folder, "loss").sort_values(["fold", "epoch"])
    logs = [pd.read_csv(trained / f"seed0/fold{fold}/log.csv") for fold in (0, 1)]
    assert np.allclose(loss[["loss", "held_out_loss"]], pd.concat(logs)[["loss", "held_out_loss"]])
    classes = table(folder, "per_class").set_index("class")
    parts = [pd.read_csv(trained / f"seed0/fold{fold}/per_class.csv", index_col="class") for fold in (0, 1)]
    assert (classes["rows"] == (parts[0]["rows"] + parts[1]["rows"]).loc[classes.index]).all()
    commit = json.loads((trained / "run.json").read_text())["commit"]
    assert commit.rstrip("+") in reading(page, "again")


def test_every_figure_lies_beside_the_page(trained):
    folder = trained / "report"
    shown = re.findall(r'<figure class="[^"]*" id="figure-([^"]*)"', page_of(folder))
    assert {"scores", "classes", "brightness", "examples", "augmented", "loss", "confusion", "calibration"} <= set(
        shown
    )
    for name in shown:
        assert len(table(folder, name)), name
        if f'<figure class="wide table" id="figure-{name}"' not in page_of(folder):
            assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name


def test_what_it_says_to_type_trains_the_same_run(once_trained, trained, home):
    lines = html.unescape(
        re.search(
            r"<pre[^>]*>(.*?)</pre>\s*</figure>\s*<figure class=\"wide table\" id=\"figure-versions\"",
            page_of(trained / "report"),
            flags=re.S,
        )[1]
    )
    copy, run = lines.splitlines()[-2:]
    _, source, goal = copy.replace(str(once_trained), str(home)).split()
    (home / goal).write_text((home / source).read_text())
    words = run.removeprefix("./run.sh ").split()
    assert train([word for word in words if word != "fold=0..1"] + ["fold=0"]) == 0
    again = folder_of(home, words[-1].removeprefix("config="), "tiny")
    same = [json.loads((one / "run.json").read_text())["config_hash"] for one in (trained, again)]
    assert same[0] == same[1]
    assert (again / "seed0/fold0/model.safetensors").read_bytes() == (
        trained / "seed0/fold0/model.safetensors"
    ).read_bytes()


def test_the_review_and_the_ledger_are_told(trained):
    folder = trained
    (told,) = [json.loads(file.read_text()) for file in (folder / "predictions").glob("*.json")]
    entry = {"competition": "tiny", "file": told["file"], "sha256": told["sha256"], "ref": "7", "status": "COMPLETE"}
    ledger.append(ledger.Entry(time=ledger.now(), **entry, public_score=0.8765, private_score=0.8123, runs=folder.name))
    (folder / "review").mkdir()
    shift = {"auc": 0.7123, "low": 0.6512, "high": 0.7734, "flagged": True}
    shift |= {"seed": 0, "fold": 0, "held_out": 15, "test": 15}
    (folder / "review" / "review.json").write_text(json.dumps({"shift": shift}))
    (folder / "review" / "unlike.csv").write_text("id,suspicion,file\n0505,0.97,x\n0501,0.91,y\n")
    assert report(WORDS) == 0
    page = page_of(folder / "report")
    assert "0.8765" in reading(page, "answer") and "0.8123" in text_of(page)
    assert names_it(reading(page, "trust"), "0.712")
    assert list(table(folder / "report", "unlike", dtype={"id": str})["id"]) == ["0505", "0501"]


# Runs that nobody trained


@pytest.fixture
def many(home):
    write_many(home, classes=20, each=9)
    return home


def test_scores_and_mistakes_are_those_of_the_stored_logits(many):
    opened = write_run("some", skill=2.5)
    note_prediction(opened, "some", ("identity", "hflip"), 0.5)
    assert report(["run=some"]) == 0
    folder = folder_of(many, "some")
    rows, p = out_of_fold(opened, folder)
    targets, classes = opened.samples.targets[rows], np.array(opened.samples.classes)
    scores = table(folder / "report", "scores").set_index(["name", "series"])["value"]
    assert scores["out of fold", "plain"] == pytest.approx((p.argmax(1) == targets).mean())
    both = (p + out_of_fold(opened, folder, "hflip")[1]) / 2
    assert scores["out of fold", "TTA of 2"] == pytest.approx((both.argmax(1) == targets).mean())
    wrong = np.flatnonzero(p.argmax(1) != targets)
    told = table(folder / "report", "mistakes")
    assert len(told) == len(wrong) > 6
    surest = wrong[p[wrong].max(1).argmax()]
    first = told.iloc[0]
    assert first["sure"] == pytest.approx(p[surest].max(), abs=1e-6)
    assert (first["truth"], first["answer"]) == (classes[targets[surest]], classes[p[surest].argmax()])
    assert first["id"] == opened.samples.train["id"].iloc[rows[surest]]
    counts = np.zeros((20, 20), dtype=int)
    np.add.at(counts, (targets, p.argmax(1)), 1)
    np.fill_diagonal(counts, 0)
    worst = table(folder / "report", "confusions").iloc[0]
    assert worst["images"] == counts.max()
    bins = table(folder / "report", "calibration")
    assert (bins["answers"] * bins["right"]).sum() == pytest.approx((p.argmax(1) == targets).sum())
    assert (bins["answers"] * bins["confidence"]).sum() == pytest.approx(p.max(1).sum())
    page = page_of(folder / "report")
    assert names_it(reading(page, "mistakes"), len(wrong)) and names_it(reading(page, "mistakes"), len(rows))
    sure, right = p.max(1).mean(), (p.argmax(1) == targets).mean()
    assert names_it(reading(page, "trust"), f"{abs(sure - right):.1%}")


def test_no_network_is_run_but_for_the_maps(many):
    """All else is read from the store: without weights only the maps are missing, and the page says so."""
    write_run("some", skill=2.5)
    for file in folder_of(many, "some").glob("seed0/*/model.safetensors"):
        file.unlink()
    assert report(["run=some"]) == 0
    page = page_of(folder_of(many, "some") / "report")
    assert "model.safetensors" in text_of(page)


def test_names_are_text_and_nothing_else(many):
    write_run("some", skill=2.5)
    assert report(["run=some"]) == 0
    page = page_of(folder_of(many, "some") / "report")
    for name in STRANGE:
        assert name in text_of(page), name
    assert "\u2068الفراشة\u2069" in text_of(page)  # or the words around it would be turned
    for tag in ("<b>", "<img src=x", "onerror=window", "</script><script>"):
        assert tag not in page.replace(html.escape(tag), ""), tag
    assert "{{ 7 * 7 }}" in page and 'Many <classes> & "names"' in text_of(page)


def test_a_run_without_a_mistake_is_not_called_certain(many):
    opened = write_run("some", skill=40)
    assert report(["run=some"]) == 0
    page = page_of(folder_of(many, "some") / "report")
    rows = len(opened.samples.train)
    assert names_it(reading(page, "answer"), f"{rows / (rows + 1.96**2):.4f}")  # Wilson's


def test_what_cannot_be_told_is_no_number(home):
    """A kappa without a mistake: no draw of the rows tells how far it could be off."""
    write_many(home, classes=5, each=12, target="ordinal")
    card = home / "competition" / "many" / "card.yaml"
    card.write_text(card.read_text().replace("metric: accuracy", "metric: qwk"))
    write_run("some", skill=40)
    assert predict(["run=some"]) == 0 and report(["run=some"]) == 0
    folder = folder_of(home, "some")
    (told,) = [json.loads(file.read_text()) for file in (folder / "predictions").glob("*.json")]
    assert told["score"] == {"value": 1.0, "low": None, "high": None}
    assert not re.search(r"\d\.\d+ to \d", reading(page_of(folder / "report"), "answer"))


def test_small_gaps_between_sure_and_right_are_luck(home):
    """With a skill of 1 the made-up probabilities are those with which the answers are right."""
    write_many(home, classes=10, each=20)
    write_run("honest", skill=1.0)
    write_run("bold", skill=1.0)
    for file in folder_of(home, "bold").glob("seed0/*/logits/oof-identity.npz"):
        with np.load(file) as stored:
            arrays = dict(stored)
        np.savez(file, **arrays | {"logits": arrays["logits"] * 3})
    results = {run: run_results(parse([f"run={run}"])) for run in ("honest", "bold")}
    told = {run: trust(one).reading for run, one in results.items()}
    found = {run: sureness(one, calibration(one)) for run, one in results.items()}
    assert abs(found["honest"].gap) < found["honest"].reach and found["honest"].error < found["honest"].usual
    assert names_it(told["honest"], 200) and names_it(told["honest"], f"{found['honest'].reach:.1%}")
    assert found["bold"].gap > found["bold"].reach and names_it(told["bold"], f"{found['bold'].gap:.1%}")


def test_it_promises_the_same_bits_only_where_they_can_be_had(many):
    write_run("some", skill=2.5)
    folder = folder_of(many, "some")
    origin, readings = json.loads((folder / "run.json").read_text()), []
    for commit, device, same in (
        ("abc", "cpu", True),
        ("abc+", "cpu", False),
        ("", "cpu", False),
        ("abc", "cuda", False),
    ):
        (folder / "run.json").write_text(json.dumps(origin | {"commit": commit}))
        machine = json.loads((folder / "machine.json").read_text()) | {"device": device}
        (folder / "machine.json").write_text(json.dumps(machine))
        request = parse(["run=some"])
        told = again(run_results(request))
        assert same_bits(commit, device) == same and told.reading not in readings, (commit, device)
        readings.append(told.reading)
    assert f"export PODIUM_HOME={many}" in told.blocks[0].text


def test_only_what_is_alike_stands_beside_the_run(many):
    for run, folds in (("some", None), ("other", None), ("fewer", (0, 1))):
        note_prediction(write_run(run, skill=2.5, folds=folds), run, ("identity",), 0.5)
    entry = {"competition": "many", "status": "COMPLETE", "time": ledger.now()}
    for ref, (runs, score) in enumerate((("some", 0.71), ("some", 0.61), ("some other", 0.99))):
        ledger.append(ledger.Entry(**entry, ref=str(ref), sha256=str(ref), runs=runs, public_score=score))
    assert report(["run=some"]) == 0
    folder = folder_of(many, "some") / "report"
    public = table(folder, "runs").set_index("run")["public"]
    assert public["some (this one)"] == 0.71 and public["some + other"] == 0.99 and np.isnan(public["other"])
    assert set(table(folder, "runs_scores")["name"]) == {"some (this one)", "other"}
    assert names_it(caption(page_of(folder), "runs_scores"), 1), "one run of other folds is left out"
    assert report(["run=fewer"]) == 0
    assert names_it(reading(page_of(folder_of(many, "fewer") / "report"), "answer"), "fold 2")


def test_a_class_is_not_called_hard_for_one_bad_draw(many):
    opened = write_run("some", skill=4.0)
    folder, samples = folder_of(many, "some"), opened.samples
    worst = samples.classes[12]
    for file in folder.glob("seed0/*/logits/oof-identity.npz"):  # the class is never recognised
        with np.load(file) as stored:
            arrays = dict(stored)
        rows = samples.targets[samples.positions(arrays["id"])] == 12
        arrays["logits"][rows, 12] = -20
        np.savez(file, **arrays)
    assert report(["run=some"]) == 0
    classes = table(folder / "report", "per_class")
    assert classes["high"].is_monotonic_increasing and classes["class"][0] == worst
    told = reading(page_of(folder / "report"), "mistakes")
    assert names_it(told, worst) and names_it(told, "0 of 9")


def test_what_is_learned_is_told_by_loss_and_score(many):
    write_run("some", skill=2.5)
    folder = folder_of(many, "some")
    for file in folder.glob("seed0/*/log.csv"):
        log = pd.read_csv(file)
        log.assign(held_out_loss=[2, 1, 1.5, 2, 2.5, 3], train_score=0.5 + log["epoch"] / 20).to_csv(file, index=False)
    assert report(["run=some"]) == 0
    page = page_of(folder / "report")
    assert all(names_it(reading(page, "learning"), told) for told in ("epoch 2", "1.0000", "3.0000"))
    drawn = table(folder / "report", "score")
    assert {"train_score", "score"} <= set(drawn.columns)


def test_rows_with_several_classes(home):
    write_many(home, classes=12, each=6, target="multilabel")
    opened = write_run("some", skill=3.0)
    assert report(["run=some"]) == 0
    folder = folder_of(home, "some")
    rows, p = out_of_fold(opened, folder)
    truth = opened.samples.targets[rows] > 0.5
    classes = table(folder / "report", "per_class").set_index("class")
    right = (truth & (p >= 0.5)).sum(0)
    assert classes.loc[list(opened.samples.classes), "right"].tolist() == right.tolist()
    assert not (folder / "report" / "confusion.png").exists()
    missed = (truth & (p < 0.5)).sum() + (~truth & (p >= 0.5)).sum()
    mistakes = table(folder / "report", "mistakes")
    assert len(mistakes) == missed and mistakes["answer"].str.startswith("not ").sum() == (truth & (p < 0.5)).sum()


def test_a_map_tells_what_it_shows(home, monkeypatch):
    """Of a label that was missed it shows what speaks for it; where nothing does, that is said."""
    write_many(home, classes=12, each=6, target="multilabel")
    write_run("some", skill=3.0)
    results = run_results(parse(["run=some"]))
    missed = surest_mistakes(results)["answer"].str.startswith("not ").head(6)
    heat = np.ones((2, 2))
    monkeypatch.setattr("src.reporting.sections.mistakes.heat_of", lambda _, rows, labels: ([heat] * len(rows), ""))
    (gallery,) = [block for block in mistakes(results).blocks if getattr(block, "name", "") == "mistakes"]
    told = [tile.alt[1].replace(isolated(tile.classes[-1]), "") for tile in gallery.tiles]
    assert len(set(zip(told, missed, strict=True))) == len(set(told)) == 2  # another sentence where it was missed
    lines = [len(tile.lines) for tile in gallery.tiles]
    heat[:] = 0
    (gallery,) = [block for block in mistakes(results).blocks if getattr(block, "name", "") == "mistakes"]
    assert [len(tile.lines) for tile in gallery.tiles] == [one + 1 for one in lines]
    assert all(tile.classes[-1] in tile.lines[-1] for tile in gallery.tiles)


def test_grades_keep_their_order(home):
    write_many(home, classes=5, each=12, target="ordinal")
    opened = write_run("some", skill=2.0)
    assert report(["run=some"]) == 0
    drawn = table(folder_of(home, "some") / "report", "confusion")
    assert list(dict.fromkeys(drawn["truth"])) == list(opened.samples.classes)
    page = text_of(page_of(folder_of(home, "some") / "report"))
    assert names_it(page, 20)
    assert "log.train_scores=true" in page


def test_a_model_of_all_rows_has_a_page_without_a_score(many):
    write_run("some", folds=("all",))
    assert report(["run=some"]) == 0
    page = page_of(folder_of(many, "some") / "report")
    assert not re.search(r"\d\.\d{4}", reading(page, "answer")), "there is no row to score it on"
    assert sections(page) >= set(SECTIONS)


def test_a_run_that_was_trained_elsewhere(many):
    opened = write_run("some", skill=2.5)
    folder = folder_of(many, "some")
    (folder / "config.yaml").unlink()
    (folder / "run.json").write_text(json.dumps({"folds": opened.folds.hash}))
    for file in [*folder.glob("seed0/*/*.*"), folder / "machine.json"]:
        file.unlink()
    assert report(["run=some", "config=many"]) == 0
    page = page_of(folder / "report")
    assert reading(page, "learning") and "<svg" not in page.split('<section id="learning"')[1].split("<section")[0]
    rows, p = out_of_fold(opened, folder)
    assert f"{(p.argmax(1) == opened.samples.targets[rows]).mean():.4f}" in reading(page, "answer")


def test_a_page_made_again_leaves_no_figure_of_the_last_one(many):
    write_run("some", skill=2.5)
    report(["run=some"])
    folder = folder_of(many, "some") / "report"
    (folder / "my own.png").write_bytes(b"x")
    (folder / "old.png").write_bytes(b"x")
    written = json.loads((folder / "figures.json").read_text())
    (folder / "figures.json").write_text(json.dumps([*written, "old.png"]))
    before = (folder / "report.html").read_bytes()
    assert report(["run=some"]) == 0
    assert not (folder / "old.png").exists() and (folder / "my own.png").exists()
    assert (folder / "report.html").read_bytes() == before  # the same run, the same page


def test_a_run_that_is_not_there_is_told(many, capsys):
    assert report(["run=nothing"]) == 2
    assert "run=nothing" in capsys.readouterr().err
    refused(capsys, report, ["config=many"], "unknown-run", "many")


# Runs side by side


@pytest.mark.parametrize(
    "words", [pytest.param(["runs=weak,strong"], marks=pytest.mark.slow), ["--compare", "weak", "strong"]]
)
def test_runs_side_by_side(many, words, monkeypatch, capsys):
    monkeypatch.setattr("src.core.console.LINES_SECONDS", 0)
    weak, strong = write_run("weak", skill=2.0), write_run("strong", skill=3.5)
    assert report(words) == 0
    folder = many / "runs" / "many" / "comparisons" / "weak+strong"
    work = capsys.readouterr().err
    assert all(f"report: {part}: " in work for part in ("run weak", "answer", "flipped", "classes", "figures"))
    answers = {}
    for name, opened in (("weak", weak), ("strong", strong)):
        rows, p = out_of_fold(opened, folder_of(many, name))
        answers[name] = pd.Series(p.argmax(1), index=opened.samples.train["id"].to_numpy()[rows])
        truth = pd.Series(opened.samples.targets[rows], index=answers[name].index)
    right = pd.DataFrame({name: answer == truth for name, answer in answers.items()})
    flipped = right.index[right["weak"] != right["strong"]]
    told = table(folder, "flips")
    assert set(told["id"]) == set(flipped) and len(told) == len(flipped)
    classes = np.array(weak.samples.classes)
    assert (told["weak"] == classes[answers["weak"][told["id"]]]).all()
    page = page_of(folder)
    assert names_it(reading(page, "flips"), len(flipped)) and names_it(reading(page, "flips"), len(right))
    assert names_it(reading(page, "answer"), "strong")
    assert f"{right['strong'].mean():.4f}" in reading(page, "answer")
    scores = table(folder, "scores").set_index("name")
    assert scores.loc["weak", "gain"] == pytest.approx(right["weak"].mean() - right["strong"].mean())
    assert {"score.png", "held_out_loss.png", "flips.png", "scores.png"} <= {file.name for file in folder.iterdir()}


def test_curves_are_compared_on_the_folds_that_all_have(many, drawn):
    write_run("_two", skill=2.0, folds=(0, 1))
    write_run("three", skill=3.5)
    assert report(["runs=_two,three"]) == 0
    folder = many / "runs" / "many" / "comparisons" / "_two+three"
    scores = [json.loads((folder_of(many, "three") / f"seed0/fold{k}/done.json").read_text())["score"] for k in (0, 1)]
    drawn = table(folder, "score").set_index(["run", "epoch"])["score"]
    assert drawn["three", 6] == pytest.approx(np.mean(scores) * (1 - 0.5 / 6))
    page = page_of(folder)
    assert names_it(text_of(page), "fold 0, 1")
    svg = re.search(r'id="figure-held_out_loss".*?<svg.*?</svg>', page, flags=re.S)[0]
    assert re.search(r">\s*_two\s*</text>", svg) and re.search(r">\s*three\s*</text>", svg)  # both in the legend
    assert "✓ three: " in text_of(page) and "✗ _two: " in text_of(page)


def test_every_fold_has_a_look_and_a_name_of_its_own():
    figure = curves([Curve([1, 2, 3], [k, k, k], f"fold {k}", k) for k in range(10)], "epoch", "loss")()
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 10
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"fold {k}" for k in range(10)]


def test_a_matrix_of_very_many_classes_is_drawn_without_their_names():
    for many, named in ((150, 150), (151, 0)):
        names = [f"class {number}" for number in range(many)]
        place = confusion(names, np.eye(many, dtype=int))().axes[0]
        assert sum(label.get_text().startswith("class") for label in place.get_yticklabels()) == named


def test_a_comparison_of_long_names_has_a_short_one(home):
    names = [letter * 91 for letter in "abc"]
    for name in names:
        folder = folder_of(home, name)
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
    assert len(parse([f"runs={','.join(names)}"], several_runs=True).run) <= 80


def test_runs_on_other_folds_are_not_compared(many, capsys):
    write_run("one")
    config = (many / "configs" / "many.yaml").read_text().replace("folds: 3", "folds: 4")
    (many / "configs" / "other.yaml").write_text(config)
    write_run("two", config="other")
    refused(capsys, report, ["runs=one,two"], "run-folds-differ")
