from dataclasses import replace

import numpy as np
import pytest
from tests.training.tiny import request, trained

from crossview.errors import TrainingFailed
from crossview.pairs.batch import Views
from crossview.pairs.loading import Loader
from crossview.training.contract import example_table
from crossview.training.mining import make_miner
from crossview.training.session import prepare, start_state
from crossview.training.validation import (
    EmbeddedRows,
    Recall,
    _refuse_broken,
    embed_rows,
    rank_rows,
)
from crossview.views.spec import ViewSpec

VIEWS = Views(
    ground=ViewSpec(side="ground", height_px=4, width_px=16),
    aerial=ViewSpec(side="aerial", height_px=8, width_px=8, footprint_m=8.0),
)


BFLOAT16 = 4e-3  # of a cosine: candidates are put in order in it where the device is fast at it


def unit(rows):
    vectors = np.asarray(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedded(ground, aerial, seen=360.0):
    ground = unit(ground)
    return EmbeddedRows(
        ground=ground, aerial=unit(aerial), seen_deg=np.full(len(ground), seen, np.float32)
    )


def test_a_perfect_model_ranks_every_truth_first():
    found, references = rank_rows(embedded(np.eye(5), np.eye(5)), example_table(5), VIEWS)
    assert found.tolist() == [1] * 5
    assert references == 5


def test_a_model_that_says_the_same_for_everything_finds_nothing():
    same = np.ones((5, 3))
    found, _ = rank_rows(embedded(same, same), example_table(5), VIEWS)
    assert found.tolist() == [5] * 5


def test_ranks_equal_those_of_slow_loops():
    rng = np.random.default_rng(0)
    vectors = embedded(rng.normal(size=(12, 4)), rng.normal(size=(12, 4)))
    found, _ = rank_rows(vectors, example_table(12), VIEWS)
    for i, query in enumerate(vectors.ground):
        own = float(query @ vectors.aerial[i])
        better = sum(
            float(query @ other) >= own for n, other in enumerate(vectors.aerial) if n != i
        )
        assert found[i] == 1 + better


def test_ignored_references_are_left_out():
    table = replace(example_table(3), ignored=np.array([[0, 1]]))
    ground = np.array([[1.0, 0.9, 0], [0, 1, 0], [0, 0, 1]])
    aerial = np.array([[1.0, 0, 0], [1, 0.9, 0], [0, 0, 1]])
    assert rank_rows(embedded(ground, aerial), table, VIEWS)[0][0] == 1
    assert rank_rows(embedded(ground, aerial), example_table(3), VIEWS)[0][0] == 2


def test_azimuth_bins_find_a_turned_picture():
    """Four bins, each place a ring of four codes; the query is its place turned by a quarter."""
    rng = np.random.default_rng(1)
    aerial = unit(rng.normal(size=(6, 8)))
    ground = np.roll(aerial.reshape(6, 4, 2), -1, axis=1).reshape(6, 8)
    turned = replace(VIEWS, azimuth_bins=4)
    assert rank_rows(embedded(ground, aerial), example_table(6), turned)[0].tolist() == [1] * 6
    assert rank_rows(embedded(ground, aerial), example_table(6), VIEWS)[0].max() > 1


def test_vectors_that_are_not_finite_or_have_no_length_are_refused():
    good = embedded(np.eye(3), np.eye(3))
    for broken in (np.nan, 0.0):
        with pytest.raises(TrainingFailed):
            _refuse_broken(replace(good, aerial=good.aerial * broken))


def test_validation_is_reported_on_held_out_places_and_changes_nothing(tmp_path):
    plain = request(tmp_path, out="plain", val_share=0.25)
    watched = replace(plain, out=tmp_path / "watched", validate_every=2)
    trained(plain)
    session, reports = trained(watched)
    recalls = [report for report in reports if isinstance(report, Recall)]
    assert [r.step for r in recalls] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert {r.fov_deg for r in recalls} == {360.0, 90.0}
    assert len(session.job.table) == 18
    assert recalls[0].queries == recalls[0].references == 6
    weights = [(out / "model.safetensors").read_bytes() for out in (plain.out, watched.out)]
    assert weights[0] == weights[1]


def test_mined_neighbours_are_other_places_most_similar_first(tmp_path):
    session = prepare(request(tmp_path))
    state = start_state(session)
    mine = make_miner(session.reader, 0)
    near = mine(state)
    assert near.shape == (24, 23)
    with Loader(replace(session.reader, page=None, config={}), 0) as loader:
        vectors = embed_rows(state, range(24), loader, session.job.views, 360.0)
    for row, query in enumerate(vectors.ground):
        scores = [float(query @ vectors.aerial[other]) for other in near[row]]
        assert row not in near[row]
        assert scores == pytest.approx(sorted(scores, reverse=True), abs=BFLOAT16)
