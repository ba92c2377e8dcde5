"""From a host's files to a competition that can be trained on: data, card, checked samples, and a look at them."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from src.competition import json_tables
from src.competition.bags import image_paths
from src.competition.card import AUTO, NONE, Card, card_file, check_card, load_card
from src.competition.competition import check_metric
from src.competition.detect import inventory
from src.competition.detect.draft import Draft, Evidence, Fact
from src.competition.detect.image_facts import frames_told, put_image_facts
from src.competition.detect.layout import Found, detect
from src.competition.detect.mask_crops import masks_told
from src.competition.file_tree import Tree
from src.competition.guesses import ALL, CONFIRMED, check_confirmed, confirm, format_guesses, note_reading, read_facts
from src.competition.labels import test_answers
from src.competition.metadata import asked_columns
from src.competition.quality.accounting import Accounting, account, unread_lines
from src.competition.quality.overview import overview
from src.competition.samples import Samples, load_samples, refuse_constant
from src.competition.sources import pixel_columns
from src.competition.sources.data_folder import bring, discard, ensure_data
from src.core.console import Note, log, note
from src.core.errors import Problem, UsageError
from src.core.files import write_json, write_text, written_whole
from src.core.paths import competition_folder, runs_folder
from src.images.decode import LFS_REMEDY, is_lfs_pointer
from src.images.readers import split_key
from src.metrics import metric

Fits = Callable[[Card, Samples], None]
TABLES = (*inventory.TEXT, *json_tables.SUFFIXES)
SOME_IMAGES = 50  # that are opened before the names are read
LISTED = 5


@dataclass(frozen=True)
class Prepared:
    """A competition that is ready, with all that is known of how it was read.

    facts: of the card, by key. overview: what the images are like. notes: what the user should know.
    """

    card: Card
    samples: Samples
    facts: dict[str, Fact]
    accounting: Accounting
    overview: dict[str, Any]
    notes: tuple[Note, ...]

    @property
    def guesses(self) -> dict[str, Fact]:
        """The facts that nobody has confirmed."""
        return {key: fact for key, fact in self.facts.items() if fact.guess}

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a program that asks."""
        return {
            "competition": self.card.id,
            "evidence": {key: asdict(fact) for key, fact in self.facts.items()},
            "guesses": list(self.guesses),
            "files": self.accounting.to_json(),
            "overview": self.overview,
        }


def prepare(
    source: Path | None,
    name: str,
    given: dict[str, Any],
    slug: str | None = None,
    fits: Fits | None = None,
    confirmed: str | Collection[str] = (),
    anyway: bool = False,
) -> Prepared:
    """Make competition/NAME/ from an archive or a folder and look at it. A card that is there already is kept.

    `given`: facts by key, which go before detection. Without a source the competition's own files are looked at.
    `fits` is asked before a card is written, and raises where the card and its samples cannot be worked with.
    `confirmed`: keys of guesses that are right, or `all`. `anyway`: unpack also what is no data set by its size.
    Raises Problem where the files allow no card, or are wrong.
    """
    folder, existing = competition_folder(name), card_file(name)
    # A fact that the card tells already was written by the same command, which was stopped after that.
    other = [key for key in given if not _tells(name, key, given[key])] if existing else []
    if other:
        keys = ", ".join(other)
        raise UsageError(
            f"{existing} is there already: write {keys} into it, or delete it to have it worked out anew",
            code="card-exists",
        )
    taken = False
    if source is not None and source.resolve() not in (folder, folder / "data"):
        if existing and load_card(name).embedded:
            raise UsageError(
                f"{name} is a competition of Podium's own: choose another name for {source}, id=NAME", code="name-taken"
            )
        taken = not (folder / "data").is_dir()
        bring(source, folder, again=not existing, anyway=anyway)
    if existing:
        return _again(name, confirmed, anyway)
    try:
        return _new(source, name, given, slug, fits, confirmed)
    except Problem as problem:
        if taken and problem.code == "no-images":  # what this command took is no use
            discard(folder)
        raise


def _tells(name: str, key: str, value: Any) -> bool:
    """Whether the card says this already: words and numbers are alike, and a fact that is not there is none."""
    fact = read_facts(load_card(name)).get(key)
    return str(fact.value if fact else None) == str(value)


def _again(name: str, confirmed: str | Collection[str], anyway: bool = False) -> Prepared:
    """The competition as its card has it."""
    note("card-kept", f"{card_file(name)} is there already, and is kept")
    card = load_card(name)
    for key in confirm(card, confirmed):
        note("guess-confirmed", f"confirmed: {key}")
    ensure_data(card, anyway)
    tree = Tree(card.data)
    samples = load_samples(card, tree=tree)
    looked = overview(card, samples)
    return _format(Prepared(card, samples, read_facts(card), account(card, samples, tree), looked, ()))


def _new(
    source: Path | None,
    name: str,
    given: dict[str, Any],
    slug: str | None,
    fits: Fits | None,
    confirmed: str | Collection[str],
) -> Prepared:
    """Detect, check the result on all rows, look at the images, and only then write the card."""
    folder = competition_folder(name)
    try:
        found = _detected(folder / "data", given, name)
    except Problem as problem:
        if source is not None and source.is_file() and source.suffix.lower() in inventory.TEXT:
            more = f"\nOnly this table was looked at; with what lies beside it: python -m src.prepare {source.parent}"
            problem.args = (f"{problem}{more}",)
        raise
    archive = source or folder / f"{slug}.zip"
    for key, value in (("kaggle", slug), ("archive", archive.name if archive.is_file() else None)):
        if value and key not in found.draft.facts:
            found.draft.put(key, value)
    card = check_card(name, found.draft.tree(), "")
    if found.test_labels is not None:
        with written_whole(folder / card.test_labels) as part:
            found.test_labels.to_csv(part, index=False)
    pixel_columns.ensure_images(card)
    tree = Tree(card.data)
    if (
        card.metadata == NONE
        and "metadata" not in given
        and asked_columns(card.model_copy(update={"metadata": AUTO}), tree, [])
    ):
        card = card.model_copy(update={"metadata": AUTO})
    samples = _checked(card, tree, fits)
    _put_metadata(card, samples, found.draft)
    paths = [image_paths(part) for part in (samples.train, samples.test)]
    put_image_facts(found.draft, *paths)
    frames, masks = frames_told(*paths), masks_told(card, tree, *paths)
    _confirm(found.draft, confirmed)
    card = check_card(name, found.draft.tree(), "")
    looked = overview(card, samples)
    _check_images(card, samples, looked["unreadable"])
    note_reading(name, found.draft.facts)
    write_text(folder / "card.yaml", found.draft.text(_heading(source.name if source else slug or name)))
    log.info(f"wrote {folder / 'card.yaml'}")
    accounting = account(card, samples, tree)
    notes = tuple(Note("detected", text) for text in found.notes) + (Note("first-frame", frames),) * bool(frames)
    notes += (Note("masks-beside", masks),) * bool(masks)
    return _format(Prepared(card, samples, found.draft.facts, accounting, looked, notes))


def _detected(data: Path, given: dict[str, Any], name: str) -> Found:
    """The reading of the files. Where there is none, the message also names files that might have held it."""
    tree = Tree(data)
    pointers = _pointers_among(tree)
    try:
        found = detect(data, given, title=name)
    except UsageError:
        raise
    except Problem as problem:
        if pointers:  # the names of images are there, so that the rest can be asked as well
            pointers.args = (f"{pointers}\n{problem}",)
            raise pointers from None
        problem.args = ("\n".join([str(problem), *unread_lines(tree, str(problem))]),)
        raise
    if pointers:
        raise pointers
    return found


def _pointers_among(tree: Tree) -> Problem | None:
    """What is wrong with some images, if they are pointers; the others are seen when all are looked at.

    Raises Problem where a table is one: nothing can be read then.
    """
    _stop_at_pointers(tree.root / path for path in tree.files if path.lower().endswith(TABLES))
    try:
        some = range(0, len(tree.images), len(tree.images) // SOME_IMAGES + 1)
        _stop_at_pointers([tree.root / tree.images[k] for k in some])
    except Problem as problem:
        return problem
    return None


def _stop_at_pointers(paths: Iterable[Path]) -> None:
    pointers = [path for path in paths if split_key(path)[1] is None and is_lfs_pointer(Path(split_key(path)[0]))]
    if pointers:
        raise Problem(
            f"{pointers[0]} is a Git LFS pointer, and not the file itself"
            + (f" (so are {len(pointers) - 1} more of those that were looked at)" if len(pointers) > 1 else "")
            + f": {LFS_REMEDY}",
            code="git-lfs-pointer",
        )


def _confirm(draft: Draft, wanted: str | Collection[str]) -> None:
    """Take guesses for confirmed before they are written."""
    guesses = draft.guesses
    keys = list(guesses) if wanted == ALL else wanted
    check_confirmed(keys, guesses)
    for key in keys:
        draft.facts[key] = replace(guesses[key], how=f"{CONFIRMED}{guesses[key].how}", certainty="given")


def _checked(card: Card, tree: Tree, fits: Fits | None) -> Samples:
    """The samples, after all that the next commands would refuse. Raises UsageError or Problem."""
    measure = metric(card.metric, card.target_type, card.folder)
    samples = load_samples(card, tree=tree)
    refuse_constant(card, samples)
    check_metric(measure, samples)
    test_answers(card, samples.classes, samples.test["id"].to_numpy())
    if fits:
        fits(card, samples)
    return samples


def _put_metadata(card: Card, samples: Samples, draft: Draft) -> None:
    """What was made of the columns beside the pictures, as a fact with its evidence; nothing where none are shared."""
    found = samples.metadata
    if found is None or card.metadata != AUTO:
        return
    leaks = [doubt.name for doubt in found.doubts if doubt.leak]
    if not found and not leaks:
        return
    names = [column.name for column in found.columns]
    how = f"training and test table share {found.text}" if found else "no shared column is taken"
    left = "; ".join(f"{name} is left out: {why}" for name, why in found.left_out.items())
    rivals = (f"metadata=[{', '.join([*names, *leaks])}]",) if leaks else ("metadata=none",)
    against = tuple(doubt.text for doubt in found.doubts if not doubt.leak)
    evidence = Evidence(signals=(left,) if left else (), against=against, rivals=rivals)
    draft.put("metadata", AUTO, how, guess=bool(leaks), evidence=evidence)


def _check_images(card: Card, samples: Samples, faults: dict[str, str]) -> None:
    """Every class must have an image that can be read, and so must the test part. Raises Problem."""
    if not faults:
        return
    if card.on_bad_image == "stop":
        _stop_at_pointers(map(Path, faults))
    readable = ~samples.train["path"].isin(faults.keys()).to_numpy()
    counts = samples.counts_in(readable)
    lost = [
        name for name, count, whole in zip(samples.classes, counts, samples.counts, strict=True) if whole > count == 0
    ]
    tested = len(samples.test) and samples.test["path"].isin(faults.keys()).all()
    if not lost and not tested:
        return
    what = f"no image of {', '.join(map(repr, lost[:LISTED]))}" if lost else "no test image"
    more = f" and {len(lost) - LISTED} more classes" if len(lost) > LISTED else ""
    listed = "\n".join(f"  {path}: {why}" for path, why in list(faults.items())[:LISTED])
    raise Problem(
        f"{what}{more} can be read ({len(faults)} images in all cannot):\n{listed}\n"
        "Put whole files in their place, or take these rows out",
        code="no-readable-image",
    )


def _heading(origin: str) -> list[str]:
    return [
        f"Worked out from the files of {origin} by python -m src.prepare: each line says how.",
        "Correct what is wrong; a guess is what the files do not tell. Paths are below data/.",
    ]


def _format(done: Prepared) -> Prepared:
    """Keep the overview, and say what the user should know, the guesses last."""
    card, path = done.card, card_file(done.card.id)
    write_json(runs_folder(card.id) / "overview.json", done.overview)
    log.info(f"  {'files':<11} {done.accounting.summary}")
    if card.test is None:
        note(
            "no-test-images",
            "WARNING: no test images were found, so there will be nothing to submit. "
            f"If there are some, delete {path} and add test.files=PATTERN or test.table=TABLE here",
        )
    done = replace(done, notes=(*done.notes, *(Note("files-set-aside", line) for line in done.accounting.lines)))
    for one in done.notes:
        note(one.code, f"note: {one.text}")
    for line in format_guesses(card):
        note("guess", line)
    return done
