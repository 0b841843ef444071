"""A table's pictures through a network, by a source that has no files."""

from dataclasses import replace

import numpy as np
import pytest
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.errors import InvalidValue
from crossview.evaluation.conditions import Condition
from crossview.evaluation.embed import EmbedSettings, Subject, embed, evaluate_conditions
from crossview.evaluation.task import Rules
from crossview.training.contract import example_table

PLACES = 60
ALIGNED = Condition(within_deg=0.0)


class Places:
    """Every place has colours of its own; its panorama and its polar view are the same picture."""

    def __init__(self) -> None:
        colours = np.random.default_rng(0).integers(0, 256, (PLACES, 4, 8, 3))
        self.pixels = colours.repeat(4, axis=1).repeat(8, axis=2).astype(np.uint8)

    def ground(self, index):
        return self.pixels[index], 360.0

    def aerial(self, index):
        return self.pixels[index], float("nan")


def whole(**more):
    """Toy facts whose aerial view is taken as it is."""
    info = toy_info(fov_seen_deg=(360.0, 360.0), **more)
    return replace(info, aerial=replace(info.aerial, whole=True))


def how(**more):
    return EmbedSettings(source=Places(), workers=0, batch=7, **more)


class Counting(ToyEmbedder):
    """A network that looks at nothing but how many pictures it has seen."""

    def __init__(self):
        super().__init__(whole())
        self.codes = np.random.default_rng(1).normal(size=(PLACES, 64)).astype(np.float32)
        self.seen = {"ground": 0, "aerial": 0}

    def ground(self, images):
        return self._next("ground", len(images))

    def aerial(self, images):
        return self._next("aerial", len(images))

    def _next(self, side, count):
        self.seen[side] += count
        return self.codes[self.seen[side] - count : self.seen[side]]


def records(embedder, table=None, conditions=(ALIGNED,)):
    embedded = embed(table or example_table(PLACES), embedder, list(conditions), how())
    subject = Subject(
        info=embedder.info, label="x", method="x", data="x", split="test", rules=Rules(), model={}
    )
    return [record for _, record in evaluate_conditions(subject, embedded)]


def recall_at_1(embedder, table=None, conditions=(ALIGNED,)):
    found = records(embedder, table, conditions)
    return [record.figure("R@1").value for record in found]


def test_a_network_that_looks_finds_its_places_and_one_that_counts_does_not():
    assert recall_at_1(ToyEmbedder(whole())) == [100.0]
    assert recall_at_1(Counting())[0] <= 5.0


def test_the_gallery_is_embedded_once_and_every_condition_asks_it():
    counting = Counting()
    counting.codes = np.tile(counting.codes, (4, 1))
    recall_at_1(counting, conditions=[Condition(fov_deg=f) for f in (360.0, 180.0, 90.0, None)])
    assert counting.seen == {"ground": 4 * PLACES, "aerial": PLACES}


def test_the_size_of_a_batch_changes_nothing():
    table, conditions = example_table(PLACES), [Condition(fov_deg=90.0)]
    one, other = (
        embed(table, ToyEmbedder(whole()), conditions, replace(how(), batch=size))
        for size in (1, 13)
    )
    np.testing.assert_allclose(one.references, other.references, atol=1e-6)
    np.testing.assert_allclose(one.queries[conditions[0]], other.queries[conditions[0]], atol=1e-6)


def test_turned_pictures_are_found_by_a_model_of_azimuth_bins_only():
    unknown = [Condition(seed=5)]
    assert recall_at_1(ToyEmbedder(whole()), conditions=unknown)[0] < 50.0
    info = whole(azimuth_bins=8, dim=64)
    assert recall_at_1(ToyEmbedder(info), conditions=unknown)[0] > 80.0


def test_the_aerial_side_can_ask_but_has_no_field_of_view():
    table = replace(example_table(PLACES), queries="aerial")
    assert recall_at_1(ToyEmbedder(whole()), table) == [100.0]
    with pytest.raises(InvalidValue, match="here the aerial side asks"):
        recall_at_1(ToyEmbedder(whole()), table, [ALIGNED, Condition()])


def test_headings_are_measured_from_true_north_against_the_querys_own_reference():
    """Colours are known to half a bin; references lie turned, and panoramas look elsewhere."""
    info = whole(azimuth_bins=8, dim=64)
    for up, look in ((0.0, 0.0), (90.0, 90.0)):  # the picture itself is that of its up
        table = replace(
            example_table(PLACES),
            up_bearing_deg=np.full(PLACES, up),
            heading_deg=np.full(PLACES, look),
        )
        conditions = [Condition(seed=5), Condition(seed=6, fov_deg=180.0)]
        for record in records(ToyEmbedder(info), table, conditions):
            error = record.queries.heading_error_deg
            assert np.median(error) <= 22.5 + 360 / 64
            assert record.figure("heading error").value == pytest.approx(np.median(error))
            assert record.figure("heading error").unit == "deg"
            limit = 0.1 * record.protocol.fov_deg
            right = record.figure("heading right")
            assert right.value == pytest.approx(100.0 * (error <= limit).mean())
            first = error[record.queries.rank == 1]
            located = record.figure("heading right at R@1")
            assert (located.n, right.n) == (len(first), PLACES)
            assert located.value == pytest.approx(100.0 * (first <= limit).mean())


def test_a_reference_that_lies_otherwise_than_is_said_turns_the_error():
    info = whole(azimuth_bins=8, dim=64)
    table = replace(example_table(PLACES), heading_deg=np.full(PLACES, 90.0))
    (true,) = records(ToyEmbedder(info), replace(table, up_bearing_deg=np.full(PLACES, 90.0)))
    # drawn aligned to an up that is not where it was drawn: the pixels are turned by 90 degrees
    (off,) = records(ToyEmbedder(info), replace(table, up_bearing_deg=np.zeros(PLACES)))
    assert set(true.queries.heading_error_deg) == {0.0}
    assert np.median(off.queries.heading_error_deg) == 90.0


def test_who_answers_no_heading_or_knows_none_has_no_figure_of_it():
    plain, unknown = ToyEmbedder(whole()), ToyEmbedder(whole(azimuth_bins=8, dim=64))
    table = replace(example_table(PLACES), heading_deg=np.full(PLACES, np.nan))
    for embedder, pairs in ((plain, None), (unknown, table)):
        (record,) = records(embedder, pairs, [Condition(seed=5)])
        assert record.queries.heading_error_deg is None
        assert record.figure("heading error") is None
    asked = replace(example_table(PLACES), queries="aerial")
    assert records(unknown, asked)[0].figure("heading error") is None
