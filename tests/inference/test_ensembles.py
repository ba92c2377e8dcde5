"""Several runs become one submission, through the door: trained ones, brought ones, and those that are refused."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from src.config.request import parse
from src.evaluation.blending import PLAIN, RANKS, STACK, WEIGHTED, Blend
from src.metrics.decision import Decision
from src.predict import main as predict
from src.review import main as review
from src.submit import main as submit
from src.train import main as train
from tests.fixtures.codes import raises
from tests.fixtures.codes import refused as stopped
from tests.fixtures.tiny import COLOURS, write_tiny

CLASSES = sorted(COLOURS)
MEAN = ("predict.blend=mean", "predict.decide=plain")
BOTH = ("identity", "hflip")


def said(door: Callable[[list[str]], int], *words: str) -> str:
    """What a door prints when all goes well."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert door(list(words)) == 0
    return out.getvalue()


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """The code and message of a prediction that ends with this exit code, and tells all of this."""

    def refuse(code: int, words: str, *told: str) -> str:
        capsys.readouterr()
        assert predict([*words.split(" "), "--json"]) == code
        out, err = capsys.readouterr()
        assert err.count("error: ") == 1 and "Traceback" not in err
        message = ": ".join(json.loads(out)["error"].values())
        for word in told:
            assert word in message, f"{word!r} is not told in: {message}"
        return message

    return refuse


def write_shares(home: Path) -> None:
    """The three colours, with a sample submission that asks for the probability of each."""
    write_tiny(home)
    card, sample = (home / "competition" / "tiny" / name for name in ("card.yaml", "data/sample_submission.csv"))
    text = card.read_text().replace("kind: label", "kind: columns").replace("accuracy", "log_loss")
    card.write_text(text.replace("test: {table: sample_submission.csv", "test: {table: test.csv"))
    ids = pd.read_csv(sample, dtype=str)["image_id"]
    pd.DataFrame({"image_id": sorted(ids)}).to_csv(sample.with_name("test.csv"), index=False)
    pd.DataFrame({"image_id": ids, **dict.fromkeys(CLASSES, 0.5)}).to_csv(sample, index=False)


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Iterator[Path]:
    """Three runs that differ in seed, learning rate and size; `few` lacks a fold, `other` stands on other folds."""
    home = tmp_path_factory.mktemp("ensembles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_HOME", str(home))
        write_shares(home)
        said(train, "config=tiny", "run=a")
        said(train, "config=tiny", "run=b", "seed=1", "optim.lr=3e-3", "train.epochs=2")
        said(train, "config=tiny", "run=c", "images.size=24", "images.load_size=24", "train.epochs=1")
        said(train, "config=tiny", "run=few", "fold=0,2", "train.epochs=1")
        said(train, "config=tiny", "run=other", "fold=0", "train.epochs=1", "data.fold_seed=1")
        said(train, "config=tiny", "run=whole", "fold=all", "train.epochs=1")
        said(predict, "--tta", "runs=a,b,c")
        yield home


@pytest.fixture
def trained(once: Path, home: Path) -> Path:
    """A home of these runs that a test may spoil."""
    shutil.copytree(once, home, dirs_exist_ok=True)
    return home


def logits_of(home: Path, run: str, fold: int | str, table: str, seed: int = 0) -> Path:
    return home / "runs" / "tiny" / run / f"seed{seed}" / f"fold{fold}" / "logits" / f"{table}.npz"


def softmax(file: Path) -> pd.DataFrame:
    with np.load(file) as table:
        exps = np.exp(table["logits"].astype(np.float64) - table["logits"].max(axis=1, keepdims=True))
        return pd.DataFrame(exps / exps.sum(axis=1, keepdims=True), table["id"], CLASSES).sort_index()


def mean_of(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return sum(frames) / len(frames)


def test_of(home: Path, run: str, fold: int, views: tuple[str, ...] = BOTH) -> pd.DataFrame:
    """The test probabilities of one network, from its stored logits with nothing but numpy."""
    return mean_of([softmax(logits_of(home, run, fold, f"test-{view}", int(run == "b"))) for view in views])


test_of.__test__ = False


def latest(home: Path, name: str) -> Path:
    return home / "submissions" / "tiny" / f"{name}.csv"


def answers_in(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"image_id": str}).set_index("image_id")[CLASSES].sort_index()


def facts_in(home: Path, name: str, printed: str) -> dict:
    stem = Path(re.search(r"^(.*\.csv): 15 rows", printed, re.M)[1]).stem
    return json.loads((home / "runs" / "tiny" / "blends" / name / "predictions" / f"{stem}.json").read_text())


# What comes out


def test_the_plain_mean_is_that_of_the_stored_logits(trained):
    printed = said(predict, "--tta", "runs=[a,b,c]", *MEAN)
    expected = mean_of([test_of(trained, run, fold) for run in "abc" for fold in range(3)])
    pd.testing.assert_frame_equal(answers_in(latest(trained, "a+b+c")), expected, check_names=False, atol=1e-11, rtol=0)
    facts = facts_in(trained, "a+b+c", printed)
    assert facts["runs"] == ["a", "b", "c"]
    assert (facts["seeds"], facts["folds"], facts["views"]) == ([0, 1], ["0", "1", "2"], list(BOTH))
    assert facts["blend"]["method"] == PLAIN
    assert [facts["each"][run]["size"] for run in "abc"] == [16, 16, 24]
    assert facts["decision"] is None


def test_what_was_fitted_is_applied_fold_by_fold(trained):
    """The printed scores are nested ones; the file holds what its facts say of blend and decision."""
    printed = said(predict, "--tta", "runs=a,b,c")
    facts = facts_in(trained, "a+b+c", printed)
    blend, decision = Blend.from_json(facts["blend"]), Decision.from_json(facts["decision"])
    assert (decision.temperature, decision.shift) != (1.0, None), "networks stopped early are too unsure"
    each = []
    for fold in range(3):
        joined = blend.apply({run: test_of(trained, run, fold).to_numpy() for run in "abc"})
        each.append(decision.changed(joined))
    np.testing.assert_allclose(answers_in(latest(trained, "a+b+c")), np.mean(each, axis=0), atol=1e-9)
    nested = float(re.search(rf"^{decision.name} +[\d.]+ +([\d.]+)", printed, re.M)[1])
    assert facts["score"]["value"] == pytest.approx(nested, abs=6e-5)
    assert facts["score"]["low"] <= nested <= facts["score"]["high"]


def test_every_run_and_every_way_is_told_with_its_interval(trained):
    printed = said(predict, "--tta", "runs=a,b,c")
    number = r"\d\.\d{4}"
    for name in ("run a", "run b", "run c", PLAIN, WEIGHTED, STACK):
        score = re.search(rf"^{name} +({number}) .*", printed, re.M)
        figures = re.findall(number, score[0])  # with its interval; what is fitted also scored on the rows of the fit
        assert len(figures) >= (6 if name in (WEIGHTED, STACK) else 3), score[0]
    assert re.search(rf"^b +{number} ± {number}   {number}  {number}  {number}$", printed, re.M)
    told = re.findall(
        r"^(?:no difference between \w and \w can be told|\w is better than \w by).*interval", printed, re.M
    )
    assert len(told) == 2
    truth = pd.read_csv(trained / "competition/tiny/data/train.csv", dtype=str).set_index("image_id")["colour"]
    own = pd.concat([mean_of([softmax(logits_of(trained, "a", f, f"oof-{v}")) for v in BOTH]) for f in range(3)])
    loss = -np.log(own.to_numpy()[np.arange(45), [CLASSES.index(truth[one]) for one in own.index]]).mean()
    assert float(re.search(rf"^run a +({number})", printed, re.M)[1]) == pytest.approx(loss, abs=6e-5)


def test_the_blend_is_submitted_with_its_score(trained, notes):
    printed = said(predict, "--tta", "runs=a,b,c")
    file = re.search(r"python -m src.submit (\S+)", printed)[1]
    score = facts_in(trained, "a+b+c", printed)["score"]["value"]
    notes.clear()
    said(submit, file, "--dry-run")
    assert notes.codes == ["file-checked", "nothing-sent"]
    assert notes.texts("nothing-sent", Path(file).stem, f"{score:.4f}")


def test_another_order_of_runs_is_the_same_mean_under_another_name(trained):
    said(predict, "--tta", "runs=c,a,b", *MEAN)
    said(predict, "--tta", "runs=a,b,c", *MEAN)
    first, second = (answers_in(latest(trained, name)) for name in ("c+a+b", "a+b+c"))
    pd.testing.assert_frame_equal(first, second, atol=1e-11, rtol=0)


def test_each_run_chooses_its_own_views(trained):
    printed = said(predict, "--tta=auto", "runs=a,c", *MEAN)
    views = [facts_in(trained, "a+c", printed)["each"][run]["views"] for run in "ac"]
    expected = [test_of(trained, run, f, tuple(v)) for run, v in zip("ac", views, strict=True) for f in range(3)]
    np.testing.assert_allclose(answers_in(latest(trained, "a+c")), mean_of(expected), atol=1e-11)


# Nothing is computed twice


def test_from_stored_logits_nothing_is_built_or_decoded(trained, capsys):
    said(predict, "--tta=auto", "runs=a,b,c")
    before = latest(trained, "a+b+c").read_bytes()

    for file in (trained / "runs/tiny").rglob("model.safetensors"):
        file.write_bytes(b"no weights")
    shutil.rmtree(trained / "competition/tiny/cache")
    for words in (("--tta=auto", "runs=a,b,c"), ("--tta", "runs=a,b,c"), ("runs=a,b",), ("--tta=auto", "run=c")):
        said(predict, *words)
    said(predict, "--tta=auto", "runs=a,b,c")
    assert latest(trained, "a+b+c").read_bytes() == before
    logits_of(trained, "c", 1, "oof-rot90").unlink()
    assert not list((trained / "competition/tiny/cache").glob("*.npy")), "the images were decoded"
    stopped(capsys, predict, ["--tta=auto", "runs=a,b,c"], "weights-damaged")


def changed(file: Path, change: Callable[[dict[str, np.ndarray]], dict]) -> None:
    with np.load(file) as stored:
        arrays = dict(stored)
    np.savez(file, **{**arrays, **change(arrays)})


def test_rows_may_stand_in_any_order_and_none_may_be_missing(trained, refused):
    said(predict, "--tta", "runs=a,b,c")
    before = latest(trained, "a+b+c").read_bytes()

    def shuffled(arrays: dict[str, np.ndarray]) -> dict:
        order = np.random.default_rng(0).permutation(len(arrays["id"]))
        return {"id": arrays["id"][order], "logits": arrays["logits"][order]}

    files = sorted((trained / "runs" / "tiny" / "b").rglob("*.npz"))
    assert len(files) >= 12
    for file in files:
        changed(file, shuffled)
    said(predict, "--tta", "runs=a,b,c")
    assert latest(trained, "a+b+c").read_bytes() == before
    with np.load(files[0]) as table:
        missing = table["id"][0]
    changed(files[0], lambda arrays: {"id": arrays["id"][1:], "logits": arrays["logits"][1:]})
    refused(1, "--tta runs=a,b,c", str(files[0]), repr(str(missing)))
    files[0].unlink()
    said(predict, "--tta", "runs=a,b,c")  # the remedy
    assert latest(trained, "a+b+c").read_bytes() == before


# Folds


def test_other_folds_are_refused_before_anything_is_computed(trained, refused):
    before = {path for path in (trained / "runs").rglob("*.npz")}
    for runs in ("a,other", "other,a"):
        refused(1, f"--tta=auto runs={runs}", "run-folds-differ", "data.fold_seed")
    assert {path for path in (trained / "runs").rglob("*.npz")} == before


def test_missing_folds_are_refused_with_a_remedy_that_works(trained, refused, notes):
    refused(1, "runs=a,few", "missing-row", "run few", "15 of 45", "predict.shared=true")
    printed = said(predict, "runs=a,few", "predict.shared=true", *MEAN)
    assert notes.take().texts("different-folds")
    means = [
        mean_of([test_of(trained, run, f, ("identity",)) for f in folds])
        for run, folds in (("a", (0, 1, 2)), ("few", (0, 2)))
    ]
    np.testing.assert_allclose(answers_in(latest(trained, "a+few")), mean_of(means), atol=1e-11)
    facts = facts_in(trained, "a+few", printed)
    printed = said(predict, "runs=a,few", "fold=0,2", *MEAN)
    assert not notes.texts("different-folds")
    # Both times judged on the rows of the two folds that both have.
    assert facts_in(trained, "a+few", printed)["score"] == facts["score"]
    expected = [test_of(trained, run, f, ("identity",)) for run in ("a", "few") for f in (0, 2)]
    np.testing.assert_allclose(answers_in(latest(trained, "a+few")), mean_of(expected), atol=1e-11)


def test_models_of_all_rows_have_nothing_to_be_judged_on(trained, refused, notes):
    refused(1, "runs=a,whole", "no-held-out-rows", "run whole")
    refused(2, "--tta=auto run=whole", "--tta=auto", "fold=all", "predict.views")
    shutil.copytree(trained / "runs/tiny/whole", trained / "runs/tiny/twin")
    refused(2, "runs=whole,twin", "predict.blend=mean")
    printed = said(predict, "runs=whole,twin", "predict.blend=mean")
    assert notes.texts("no-score", "fold=all")
    assert facts_in(trained, "whole+twin", printed)["score"]["value"] is None


# A run that was trained elsewhere


@pytest.fixture
def brought(trained) -> Path:
    """Run `ext` brings what run b answers, written as the head of store.py tells."""
    folder = trained / "runs" / "tiny" / "ext"
    (file,) = [
        path
        for path in (trained / "runs" / "tiny").glob("folds-*.csv")
        if json.loads((trained / "runs/tiny/a/run.json").read_text())["folds"] in hash_of(path)
    ]
    table = pd.read_csv(file, dtype={"id": str}, keep_default_na=False)
    for fold in range(3):
        (folder / f"seed0/fold{fold}/logits").mkdir(parents=True)
        for part, ids in (("oof", table["id"][table["fold"] == fold]), ("test", None)):
            source = np.log(softmax(logits_of(trained, "b", fold, f"{part}-identity", 1)))
            source = source if ids is None else source.loc[ids]
            assert len(source) == 15
            np.savez(
                folder / f"seed0/fold{fold}/logits/{part}-identity.npz",
                id=source.index.to_numpy(dtype=str),
                logits=source.to_numpy(),
                classes=CLASSES,
                meta="{}",
            )
    (folder / "run.json").write_text(json.dumps({"folds": hash_of(file)[:8]}))
    return trained


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_brought_run_joins_like_any_other(brought, notes):
    said(predict, "runs=a,b", *MEAN)
    said(predict, "runs=a,ext", *MEAN)
    said(predict, "runs=ext,a", *MEAN)
    for name in ("a+ext", "ext+a"):
        np.testing.assert_allclose(answers_in(latest(brought, name)), answers_in(latest(brought, "a+b")), atol=1e-7)
    printed = said(predict, "--tta", "runs=a,ext", *MEAN)
    assert notes.texts("views-missing", "ext", "hflip")
    assert facts_in(brought, "a+ext", printed)["each"]["ext"]["views"] == ["identity"]
    printed = said(predict, "run=ext", "competition=tiny", "data.folds=3", *MEAN)
    expected = mean_of([test_of(brought, "b", fold, ("identity",)) for fold in range(3)])
    np.testing.assert_allclose(answers_in(latest(brought, "ext")), expected, atol=1e-7)
    assert {path.name for path in (brought / "runs/tiny/ext").iterdir()} == {"run.json", "seed0", "predictions"}


def test_a_brought_run_is_never_trained_over(brought, capsys):
    record = (brought / "runs/tiny/ext/run.json").read_bytes()
    stopped(capsys, train, ["config=tiny", "run=ext", "fold=0", "train.epochs=1"], "run-external", "ext")
    assert (brought / "runs/tiny/ext/run.json").read_bytes() == record


def test_a_brought_run_has_no_network_to_review(brought, capsys):
    stopped(capsys, review, ["run=ext", "competition=tiny", "data.folds=3"], "run-external", "ext")


def test_what_a_brought_run_lacks_is_named(brought, refused):
    file = logits_of(brought, "ext", 1, "test-identity")
    whole = file.read_bytes()
    file.unlink()
    refused(1, "runs=a,ext", "missing-logits", str(file), "store.py")
    file.write_bytes(whole)
    cases = [
        (lambda arrays: {"id": arrays["id"][1:], "logits": arrays["logits"][1:]}, ["missing-row", "1 of 15", "'0501'"]),
        (lambda arrays: {"id": arrays["id"].astype(int)}, ["bad-logits", "int64"]),
        (lambda arrays: {"logits": arrays["logits"] / 0.0}, ["logits-not-finite", "'0501'"]),
        (lambda arrays: {"classes": CLASSES[::-1]}, ["classes-differ"]),
        (lambda arrays: {"meta": "none"}, ["damaged-file"]),
    ]
    for change, told in cases:
        with np.errstate(all="ignore"):
            changed(file, change)
        refused(1, "runs=a,ext", str(file), "store.py", *told)
        file.write_bytes(whole)
    shutil.copy(logits_of(brought, "ext", 0, "oof-identity"), logits_of(brought, "ext", 0, "oof-hflip"))
    refused(1, "--tta runs=a,ext", "missing-logits", "test-hflip.npz")


def test_a_brought_run_must_stand_on_these_folds(brought, refused):
    record = brought / "runs/tiny/ext/run.json"
    told = json.loads(record.read_text())["folds"]
    record.write_text('{"folds": "00000000"}')
    refused(1, "runs=a,ext", "run-folds-differ", "run ext", "00000000", told)
    record.write_text("{}")
    refused(1, "runs=a,ext", str(record), f'{{"folds": "{told}"}}')


@pytest.mark.slow
def test_a_brought_run_lends_its_views_too(brought, refused, notes):
    for fold in range(3):
        for part in ("oof", "test"):
            shutil.copy(*(logits_of(brought, "ext", fold, f"{part}-{view}") for view in BOTH))
    refused(2, "--tta=auto runs=a,ext predict.budget=9", "oof-identity.npz", "seconds_per_image")
    said(predict, "--tta=auto", "runs=a,ext", *MEAN)
    assert notes.texts("time-missing", "ext", "identity", "hflip")
    for fold in range(3):
        for view, seconds in (("identity", 0.5), ("hflip", 0.25)):
            changed(
                logits_of(brought, "ext", fold, f"oof-{view}"),
                lambda _, s=seconds: {"meta": f'{{"seconds_per_image": {s}}}'},
            )
    printed = said(predict, "--tta=auto", "runs=a,ext", "predict.budget=9", *MEAN)
    assert re.search(r"^\+ hflip +0.75000 ", printed, re.M)


def write_binary(home: Path) -> tuple[np.ndarray, np.ndarray]:
    """A competition of two classes, judged by AUC. Returns what is true of the training rows, and of the test rows."""
    data, generator = home / "competition" / "two" / "data", np.random.default_rng(0)
    truth = generator.integers(0, 2, 300), generator.integers(0, 2, 40)
    for part, labels, start in (("train", truth[0], 1000), ("test", truth[1], 5000)):
        (data / part).mkdir(parents=True)
        ids = [str(start + k) for k in range(len(labels))]
        for one in ids:
            cv2.imwrite(str(data / part / f"{one}.png"), generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        pd.DataFrame({"id": ids, "y": labels}).to_csv(data / f"{part}.csv", index=False)
    card = [
        'title: Two\ntrain: {table: train.csv, id: id, images: "train/{id}.png", label: y}',
        'test: {table: test.csv, id: id, images: "test/{id}.png"}',
        "target: binary\nmetric: auc\nsubmission: {sample: test.csv, kind: probability}",
    ]
    (data.parent / "card.yaml").write_text("\n".join(card))
    return truth


@pytest.mark.slow
def test_ranks_are_made_among_the_answers_of_one_network(home, refused):
    """Two runs that were brought, whose networks differ in scale from fold to fold: only their order can be joined."""
    truth, runs = write_binary(home), home / "runs" / "two"
    for run in ("x", "y"):
        (runs / run).mkdir(parents=True)
        (runs / run / "run.json").write_text("{}")
    message = refused(1, "runs=x,y competition=two", '{"folds": ')
    told = re.search(r'\{"folds": "\w+"\}', message)[0]
    table = pd.read_csv(next(runs.glob("folds-*.csv")), dtype={"id": str})
    generator, test = np.random.default_rng(1), {}
    for run, sizes in (("x", [0.01, 30, 0.01, 30, 0.01]), ("y", [30, 0.01, 30, 0.01, 30])):
        (runs / run / "run.json").write_text(told)
        for fold, size in enumerate(sizes):
            folder = runs / run / f"seed0/fold{fold}/logits"
            folder.mkdir(parents=True)
            for part, ids, labels in (
                ("oof", table["id"][table["fold"] == fold], truth[0][table["fold"] == fold]),
                ("test", [str(5000 + k) for k in range(40)], truth[1]),
            ):
                order = generator.normal(1.5 * labels, 1)
                ranks = np.stack([-order, order], axis=1) * size / 10
                np.savez(folder / f"{part}-identity.npz", id=list(ids), logits=ranks, classes=["0", "1"], meta="{}")
            test[run, fold] = rankdata(order) / 41
    said(predict, "runs=x,y")
    answers = pd.read_csv(home / "submissions/two/x+y.csv", dtype={"id": str}).set_index("id")["y"]
    expected = np.mean([(test["x", fold] + test["y", fold]) / 2 for fold in range(5)], axis=0)
    np.testing.assert_allclose(answers.loc[[str(5000 + k) for k in range(40)]], expected, atol=1e-9)
    (facts,) = (runs / "blends/x+y/predictions").iterdir()
    assert json.loads(facts.read_text())["decision"] is None
    assert json.loads(facts.read_text())["blend"]["method"] == RANKS


# The command line


def named(home: Path, *runs: str) -> None:
    for run in runs:
        (home / "runs" / run).mkdir(parents=True)
        (home / "runs" / run / "run.json").write_text("{}")


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        ("runs=first", "one-run-only", ["run=first"]),
        ("runs=first,first", "given-twice", ["runs=first,first"]),
        ("runs=first,", "bad-name", ["runs="]),
        ("runs=first,../x", "bad-name", ["../x"]),
        ("runs=first,secnod", "unknown-run", ["secnod", "second?"]),
        ("runs=first,second run=third", "runs-and-run", ["run=third"]),
        ("runs=first,second config=tiny", "runs-and-run", ["config=tiny"]),
        ("runs=own,alien", "other-competitions", ["own", "tiny", "alien", "cup"]),
        ("runs=first,second", "run-in-several-competitions", ["(cup, tiny)", "competition=ID"]),
        ("runs=first,alien competition=tiny", "unknown-run", ["alien", "tiny"]),
        ("runs=first,second competition=tiny optim.lrr=1", "unknown-key", ["optim.lr?"]),
        ("runs=first,second competition=tiny fold=9", "bad-fold", ["fold=9"]),
        ("runs=first,second competition=tiny predict.blend=stack", "bad-value", ["predict.blend=stack", "mean"]),
    ],
)
def test_wrong_words_about_runs(tiny, words, code, names):
    named(tiny, "tiny/first", "tiny/second", "tiny/own", "cup/first", "cup/second", "cup/alien")
    with raises(code, *names):
        parse(words.split(" "), several_runs=True)


def test_runs_are_named_together(tiny):
    named(tiny, "tiny/first", "tiny/second", *(f"tiny/{'long' * 9}{k}" for k in range(3)))
    request = parse(["runs=[first, second]", "seed=0,1", "predict.size=24"], several_runs=True)
    assert (request.run, request.runs, request.seeds) == ("first+second", ("first", "second"), (0, 1))
    assert [config.predict.size for config in request.configs] == [24, 24]
    assert request.competition == "tiny"
    names = [",".join(f"{'long' * 9}{k}" for k in order) for order in ((0, 1, 2), (1, 0, 2))]
    long = [parse([f"runs={name}"], several_runs=True).run for name in names]
    assert long[0] != long[1] and max(map(len, long)) <= 80
    named(tiny, "tiny/first+second")  # a run of this name keeps its submissions
    assert parse(["runs=first,second"], several_runs=True).run not in ("first+second", "first")


def test_other_commands_take_one_run(tiny, capsys):
    named(tiny, "tiny/first", "tiny/second")
    for door in (train, submit):
        assert door(["runs=first,second"]) == 2
        assert "run=NAME" in capsys.readouterr().err
    stopped(capsys, predict, ["runs=first,second", "--export"], "one-run-only")
