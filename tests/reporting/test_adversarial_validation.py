"""A shifted test set is flagged and an unshifted one is not, over many draws; the odd images come first."""

import numpy as np
import pytest

from src.reporting.adversarial_validation import ALARM, MOST, compare_sets, drawn
from tests.fixtures.codes import raises
from tests.fixtures.notes import names_it

WIDTH = 64


class World:
    """Features as a network's last layer gives them: clusters of classes, correlated, cut off below 0."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.centres = self.generator.normal(0, 1, (10, WIDTH))
        self.mixing = self.generator.normal(0, 1, (20, WIDTH)) / np.sqrt(20)
        self.direction = self.generator.normal(0, 1, WIDTH)
        self.direction /= np.linalg.norm(self.direction)

    def draw(self, rows: int, moved: np.ndarray | float = 0) -> np.ndarray:
        kinds = self.generator.integers(0, 10, rows)
        noise = self.generator.normal(0, 1, (rows, 20)) @ self.mixing + self.generator.normal(0, 0.5, (rows, WIDTH))
        return np.maximum(self.centres[kinds] + noise + np.outer(np.broadcast_to(moved, rows), self.direction), 0)


@pytest.mark.slow
def test_a_shifted_test_set_is_flagged_and_an_unshifted_is_not():
    alike, moved = [], []
    for seed in range(40):
        world = World(seed)
        train = world.draw(200)
        alike.append(compare_sets(train, world.draw(200)))
        moved.append(compare_sets(train, world.draw(200, 2.0)))
    alarms = {"alike": sum(shift.flagged for shift in alike), "moved": sum(shift.flagged for shift in moved)}
    print(f"alarms in 40 draws of 200 against 200: {alarms}")
    assert alarms["alike"] <= 1, alarms
    assert alarms["moved"] >= 38, alarms
    assert np.mean([shift.auc for shift in alike]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([shift.auc for shift in moved]) > 0.7


def test_a_shift_too_small_to_matter_is_not_flagged_though_it_can_be_told():
    """With many rows a shift of a tenth of a standard deviation is certain, and no reason to distrust a score."""
    generator = np.random.default_rng(0)
    train, test = generator.normal(0, 1, (3000, 8)), generator.normal(0, 1, (3000, 8))
    test[:, 0] += 0.12
    shift = compare_sets(train, test)
    assert 0.5 < shift.interval[0] < ALARM
    assert not shift.flagged
    lines = shift.lines(np.arange(3000).astype(str))
    assert names_it(lines[1], shift.unlike[0])


def test_the_odd_images_come_first():
    world = World(1)
    odd = np.arange(300) % 3 == 0
    shift = compare_sets(world.draw(400), world.draw(300, 4.0 * odd))
    assert sorted(shift.unlike) == list(range(300))
    assert odd[shift.unlike[:60]].mean() > 0.9
    assert (np.diff(shift.suspicion) <= 0).all()
    ids = np.array([f"img{row}" for row in range(300)])
    text = "\n".join(shift.lines(ids))
    assert shift.flagged
    assert ids[shift.unlike[0]] in text


def test_groups_stay_together():
    """Patients differ: without their names the second image of one tells which set the first is in."""
    flagged = {"known": 0, "unknown": 0}
    for seed in range(12):
        world = World(seed)
        patients = np.repeat(np.arange(20), 12)
        sides = [world.draw(240) + np.repeat(world.generator.normal(0, 1, (20, WIDTH)), 12, axis=0) for _ in range(2)]
        flagged["unknown"] += compare_sets(*sides).flagged
        flagged["known"] += compare_sets(*sides, patients.astype(str), patients.astype(str)).flagged
    assert flagged["unknown"] >= 11
    assert flagged["known"] <= 1


def test_sets_of_different_size_and_with_dead_features():
    world = World(3)
    train, test = world.draw(600), world.draw(60)
    train[:, :10] = test[:, :10] = 0
    assert not compare_sets(train, test).flagged


def test_of_many_rows_some_are_drawn_and_they_stay_the_same():
    rows = np.arange(100, 100 + 2 * MOST)
    some = drawn(rows)
    assert len(np.unique(some)) == MOST and np.isin(some, rows).all() and (np.diff(some) > 0).all()
    assert abs(some.mean() - rows.mean()) < 0.02 * len(rows), "from everywhere"
    assert drawn(rows).tolist() == some.tolist()
    assert drawn(rows[:50]).tolist() == rows[:50].tolist()


def test_the_same_seed_gives_the_same_answer():
    world = World(4)
    train, test = world.draw(60), world.draw(60)
    first, second = compare_sets(train, test), compare_sets(train, test)
    assert (first.auc, first.interval, first.unlike.tolist()) == (second.auc, second.interval, second.unlike.tolist())


@pytest.mark.parametrize(
    ("train", "test", "code"),
    [
        (np.zeros((10, 4)), np.zeros((50, 4)), "too-few-rows"),
        (np.zeros((50, 4)), np.zeros((50, 3)), "shapes-differ"),
        (np.full((50, 4), np.nan), np.zeros((50, 4)), "features-not-finite"),
    ],
    ids=["few", "widths", "nan"],
)
def test_what_cannot_be_compared_is_refused(train, test, code):
    with raises(code):
        compare_sets(train, test)
