"""The filter of 8 bits: no window is underestimated, so the best are the best, and exactly so."""

from dataclasses import replace

import numpy as np
import pytest
from tests.index.windows_contract import BINS, CHECKS, READINGS, TOWN, ask, fill

from crossview.errors import BadIndex
from crossview.index.candidates import ByteFilter, SearchArea, find_contenders
from crossview.index.similarity import Asked, Facing
from crossview.index.store import FolderWriter, Index


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "crossview" / "filters"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filtered") / "town.cvx"
    fill(FolderWriter(folder))
    return Index.open(folder)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_index_with_a_filter_keeps_the_contract(plain, check):
    check(plain.quicken())


@pytest.mark.parametrize("limits", ["everywhere", "a circle"])
@pytest.mark.parametrize("reading", READINGS)
def test_it_answers_what_the_whole_scan_does(plain, reading, limits):
    area = SearchArea() if limits == "everywhere" else SearchArea(plain.footprint(190).centre, 80.0)
    asked, quick = READINGS[reading], plain.quicken()
    for one, other in (
        (plain.best([asked], 10, area, drawn=20), quick.best([asked], 10, area, drawn=20)),
        (plain.above(asked, 0.5, area, most=50), quick.above(asked, 0.5, area, most=50)),
        (plain.above(asked, 0.5, area, most=3), quick.above(asked, 0.5, area, most=3)),
    ):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        np.testing.assert_array_equal(one.heading_deg, other.heading_deg)
        np.testing.assert_array_equal(one.chosen, other.chosen)
        np.testing.assert_allclose(one.complete_above, other.complete_above, atol=1e-6)
        assert one.searched == other.searched


def test_few_windows_are_scored(plain, monkeypatch):
    scored = []
    whole = Index.score

    def score(index, asked, rows):
        scored.append(len(rows))
        return whole(index, asked, rows)

    monkeypatch.setattr(Index, "score", score)
    plain.quicken().best([ask()], 5)
    assert sum(scored) < TOWN.count / 5


def draw(kind, rng, count=300, bins=BINS, dim=24):
    """Unit vectors that are hard to round."""
    vectors = rng.standard_normal((count, dim))
    if kind == "one large number":
        vectors[:, 3] *= 50.0
    if kind == "bins of other lengths":
        vectors.reshape(count, bins, -1)[:, ::2] *= 1e-3
    if kind == "blind in a sector":
        vectors.reshape(count, bins, -1)[:, : bins // 2] = 0.0
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


KINDS = ["plain", "one large number", "bins of other lengths", "blind in a sector"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bins", [1, BINS])
def test_no_window_scores_more_than_its_bound(kind, bins):
    rng = np.random.default_rng(KINDS.index(kind))
    vectors = draw(kind, rng)
    up = rng.uniform(-180.0, 180.0, len(vectors))
    quick = ByteFilter.round(vectors, bins)
    for fov in (1.0, 0.5, 0.2):
        seen = np.ones(bins, np.float32)
        if bins > 1:
            seen = np.clip(fov * bins - np.arange(bins), 0.0, 1.0).astype(np.float32)
        for facing in (None, Facing(10.0, 20.0, None, 0.0), Facing(10.0, 180.0, 30.0, 5.0)):
            query = draw("plain", rng, count=1)[0]
            asked = Asked(query, seen, facing)
            scores, bounds = asked.score(vectors, up)[0], quick.compute_bounds(asked, up)
            assert (bounds >= scores).all()
            if kind == "plain":
                assert np.median(bounds - scores) < 0.1  # a bound that says nothing is one, too


def test_a_bound_without_what_rounding_loses_would_be_wrong():
    """What the other tests would not notice in a filter that only estimates."""
    vectors = draw("one large number", np.random.default_rng(1))
    quick = ByteFilter.round(vectors, BINS)
    facts = quick.facts.copy()
    facts[:, 1:3] = 0.0
    asked = Asked(draw("plain", np.random.default_rng(2), count=1)[0], np.ones(BINS, np.float32))
    up = np.zeros(len(vectors))
    estimates = replace(quick, facts=facts).compute_bounds(asked, up)
    assert (estimates < asked.score(vectors, up)[0]).any()


def test_contenders_hold_the_best_and_leave_out_what_cannot_be():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=1000).astype(np.float32)
    bounds = scores + rng.uniform(0.0, 0.05, 1000).astype(np.float32)
    bounds[::3] = -np.inf
    rows = find_contenders(bounds, 20, lambda some: scores[some])
    allowed = np.where(np.isfinite(bounds), scores, -np.inf)
    assert {*np.argsort(-allowed)[:20]} <= {*rows}
    assert len(rows) < 150
    assert (np.diff(rows) > 0).all()
    everything = find_contenders(bounds, 5000, lambda _: pytest.fail("scored for nothing"))
    np.testing.assert_array_equal(everything, np.flatnonzero(np.isfinite(bounds)))


def test_vectors_with_nan_are_a_damaged_index():
    vectors = draw("plain", np.random.default_rng(0))
    vectors[7, 3] = np.nan
    with pytest.raises(BadIndex, match="NaN or infinity"):
        ByteFilter.round(vectors, BINS)


def test_it_is_made_once_and_mapped(plain, cache, monkeypatch):
    first = plain.quicken().filter
    assert isinstance(first.codes, np.memmap)
    (folder,) = cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["codes.npy", "facts.npy"]
    monkeypatch.setattr(ByteFilter, "round", lambda *_: pytest.fail("made twice"))
    np.testing.assert_array_equal(plain.quicken().filter.codes, first.codes)


def test_a_damaged_one_is_made_anew(plain, cache):
    plain.quicken()
    (folder,) = cache.iterdir()
    (folder / "codes.npy").write_bytes(b"cut off")
    assert plain.quicken().filter.codes.shape == TOWN.vectors.shape


def test_where_nothing_can_be_written_it_is_held_in_memory(plain, cache, caplog):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where a folder should be")
    assert len(plain.quicken().best([ask()], 5).numbers) == 5
    assert "not kept" in caplog.text
