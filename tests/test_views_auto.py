"""Views are chosen by rows that did not choose them, within the time allowed, and none where none really helps."""

import numpy as np
import pytest

from src.errors import UsageError
from src.inference.ensemble import probabilities_of
from src.inference.views_auto import choose_views
from tests.made_up import held_out

SECONDS = {"identity": 0.010, "hflip": 0.010, "vflip": 0.010, "zoom": 0.020, "rot90": 0.010}


def views(
    seed: int, rows: int = 1000, helpful: tuple[str, ...] = ("hflip", "zoom"), useless: tuple[str, ...] = ("vflip",)
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Helpful views see the image with noise of their own, as the plain one does; useless ones add noise to that."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 5, rows)
    image = generator.normal(0, 0.7, (rows, 5))
    image[np.arange(rows), targets] += 2

    def noise(size: float) -> np.ndarray:
        return generator.normal(0, size, (rows, 5))

    plain = image + noise(1.0)
    logits = {"identity": plain} | {view: image + noise(1.0) for view in helpful}
    logits |= {view: plain + noise(0.5) for view in useless}
    return targets, {view: probabilities_of(one, "multiclass") for view, one in logits.items()}


def test_the_views_that_help_are_found():
    for seed in range(10):
        targets, tables = views(seed)
        choice = choose_views(held_out("accuracy", targets), tables, SECONDS)
        assert choice.views[0] == "identity"
        assert {"hflip", "zoom"} & set(choice.views)
        assert "vflip" not in choice.views
        assert choice.taken.gain.low > 0
        assert choice.taken.seconds == pytest.approx(sum(SECONDS[view] for view in choice.views))
        assert "   taken" in choice.lines[len(choice.views)]


def test_what_does_not_help_is_not_taken():
    """Of eight useless views the best one seems to help; on rows that did not pick it it does not."""
    useless = tuple(f"view{k}" for k in range(8))
    seconds = dict.fromkeys(("identity", *useless), 0.01)
    taken, seeming, nested = 0, [], []
    for seed in range(30):
        targets, tables = views(seed, 400, (), useless)
        held = held_out("accuracy", targets)
        plain = tables["identity"]
        best = max(held.merit(((plain + tables[view]) / 2, None)) for view in useless)
        seeming.append(best - held.merit((plain, None)))
        choice = choose_views(held, tables, seconds)
        nested.append(choice.steps[1].gain.value)
        taken += choice.views != ("identity",)
        assert choice.views != ("identity",) or "no view has a real gain" in choice.lines[-1]
    assert np.mean(seeming) > 0
    assert np.mean(nested) < np.mean(seeming) - 0.004
    assert taken <= 1


def test_the_time_allowed_bounds_the_set():
    targets, tables = views(0, helpful=("hflip", "vflip", "zoom", "rot90"), useless=())
    held = held_out("log_loss", targets)
    free = choose_views(held, tables, SECONDS)
    assert len(free.views) > 3
    for budget in (0.010, 0.020, 0.035, 0.05):
        choice = choose_views(held, tables, SECONDS, budget)
        assert all(step.seconds <= budget + 1e-9 for step in choice.steps)
        assert len(choice.steps) == {0.010: 1, 0.020: 2, 0.035: 3, 0.05: 4}[budget]
    with pytest.raises(UsageError, match=r"predict.budget=0.005: the image as it is alone takes 0.01 seconds"):
        choose_views(held, tables, SECONDS, 0.005)


def test_of_equals_the_quicker_view_is_taken():
    targets, tables = views(0, helpful=("zoom",), useless=())
    tables["hflip"] = tables["zoom"]
    assert choose_views(held_out("accuracy", targets), tables, SECONDS).steps[1].views == ("identity", "hflip")


def test_longer_sets_that_bring_nothing_are_not_taken():
    """The second view halves the noise; twelve copies of it cost seconds and bring nothing."""
    targets, tables = views(0, helpful=("hflip",), useless=())
    copies = {f"copy{k}": (tables["identity"] + tables["hflip"]) / 2 for k in range(12)}
    seconds = dict.fromkeys(tables | copies, 0.01)
    choice = choose_views(held_out("accuracy", targets), tables | copies, seconds)
    assert len(choice.steps) == 14
    assert len(choice.views) == 2


def test_the_order_of_rows_changes_nothing():
    targets, tables = views(4)
    order = np.random.default_rng(0).permutation(len(targets))
    held, mixed = held_out("accuracy", targets), held_out("accuracy", targets[order])
    mixed = type(mixed)(mixed.metric, held.id[order], mixed.targets, held.folds[order], held.groups[order])
    first = choose_views(held, tables, SECONDS)
    second = choose_views(mixed, {view: table[order] for view, table in tables.items()}, SECONDS)
    assert [step.views for step in first.steps] == [step.views for step in second.steps]
    assert [step.score for step in first.steps] == pytest.approx([step.score for step in second.steps])


def test_one_view_alone_is_what_there_is():
    targets, tables = views(0, rows=100)
    choice = choose_views(held_out("accuracy", targets), {"identity": tables["identity"]}, SECONDS)
    assert choice.views == ("identity",)
    assert len(choice.lines) == 2
