import json
import math

import numpy as np
import pytest
from tests.shared_data import shared

from crossview.errors import InvalidValue
from crossview.networks.curriculum import UNORDERED, Course, progress
from crossview.pairs.batch import TrainingLength, TrainingProgress

RNG = np.random.default_rng(0)
THETA, KEEP = {"first": 360.0, "last": 70.0}, {"first": 1.0, "last": 0.25}


def course(shape, ends, sharpness=5.0):
    """The values of 80 epochs."""
    whole = Course(shape=shape, sharpness=sharpness, **ends)
    span = TrainingLength(epochs=80, batches=10)
    return [whole.at(TrainingProgress(span=span, epoch=t).by_epoch, RNG) for t in range(80)]


@pytest.mark.parametrize(
    ("group", "shape"),
    [
        ("release", "linear"),
        ("f1_linear", "linear"),
        ("f2_fast_then_slow_lambda5", "fast-slow"),
        ("f3_slow_then_fast_lambda5", "slow-fast"),
    ],
)
def test_all_80_epochs_are_those_of_the_authors_code(group, shape):
    official = json.loads(shared("parity", "singeo_schedule.json").read_text())[group]
    assert course(shape, THETA) == pytest.approx(official["theta"], rel=1e-12)
    assert course(shape, KEEP) == pytest.approx(official["keep_probability"], rel=1e-12)


def test_the_power_law_is_the_authors_where_keep_falls_by_equal_factors():
    official = json.loads(shared("parity", "singeo_schedule.json").read_text())["power_k5"]
    assert course("power", THETA) == pytest.approx(official["theta"], rel=1e-12)
    keep = [0.25 ** progress("power", t / 80) for t in range(1, 81)]
    assert keep == pytest.approx(official["keep_probability"], rel=1e-12)


def test_other_sharpness_university_and_angles_are_the_authors_too():
    official = json.loads(shared("parity", "singeo_schedule.json").read_text())
    other = official["other_lambda"]
    assert course("fast-slow", THETA, 2.0) == pytest.approx(other["f2_theta"], rel=1e-12)
    assert course("slow-fast", THETA, 2.0) == pytest.approx(other["f3_theta"], rel=1e-12)
    university = official["release"]["keep_probability_university"]
    assert course("linear", {"first": 1.0, "last": 0.3}) == pytest.approx(university, rel=1e-12)
    angles = official["continuous_rotation_angle"]["linear_0_270"]
    assert course("linear", {"first": 0.0, "last": 270.0}) == pytest.approx(angles, rel=1e-12)


def test_the_table_of_the_facts_sheet():
    values = course("linear", THETA)
    assert [values[t - 1] for t in (1, 16, 40, 74, 75, 80)] == [
        356.375, 302.0, 215.0, 91.75, 88.125, 70.0,
    ]  # fmt: skip
    f2 = [360 - 290 * progress("fast-slow", x) for x in (0.25, 0.5, 0.75)]
    assert f2 == pytest.approx([151.7, 92.0, 74.9], abs=0.05)


def test_controls_cover_the_same_values_in_no_order():
    fixed = course("fixed", THETA)
    assert set(fixed) == {70.0}
    for shape in ("uniform", "log-uniform"):
        values = course(shape, THETA)
        assert min(values) >= 70.0
        assert max(values) <= 360.0
        assert values != sorted(values)
    draws = [Course(shape="log-uniform", **THETA).at(0.0, RNG) for _ in range(4000)]
    assert np.median(draws) == pytest.approx(math.sqrt(70 * 360), rel=0.05)


def test_a_moment_counts_epochs_or_batches_up_to_the_end():
    span = TrainingLength(epochs=2.5, batches=4)
    assert TrainingProgress(span=span, epoch=0).by_epoch == pytest.approx(0.4)
    assert TrainingProgress(span=span, epoch=2).by_epoch == 1.0
    assert TrainingProgress(span=span, epoch=1, batch=0).by_batch == pytest.approx(0.5)
    assert TrainingProgress(span=span, epoch=2, batch=3).by_batch == 1.0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda: TrainingLength(epochs=0, batches=4), "0 epochs"),
        (lambda: Course(shape="square", **THETA), "no curriculum"),
        (lambda: Course(shape="log-uniform", first=1.0, last=0.0), "above 0"),
        (lambda: Course(shape="linear", sharpness=0, **THETA), "sharpness"),
        (lambda: progress("linear", 1.5), "share"),
        (lambda: progress(UNORDERED[0], 0.5), "no order"),
    ],
)
def test_impossible_courses_are_refused(wrong, complaint):
    with pytest.raises(InvalidValue, match=complaint):
        wrong()
