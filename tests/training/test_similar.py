import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from crossview.errors import BadModel, InvalidValue
from crossview.training import mining as similar
from crossview.training.train_state import VectorMemory


def vectors(rows, seed, dim=24):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, dim, generator=generator), dim=1)


def slow(queries, references, places, keep):
    """Every score, sorted, one row after the other."""
    near = []
    for row, query in enumerate(queries):
        scores = (references @ query).tolist()
        others = [c for c in range(len(places)) if places[c] != places[row]]
        near.append(sorted(others, key=lambda c: -scores[c])[:keep])
    return np.array(near)


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def low(request, monkeypatch):
    monkeypatch.setattr(similar, "is_fast_in_bfloat16", lambda device: request.param)
    return request.param


@pytest.mark.parametrize("rows", [130, 700])
def test_it_finds_what_sorting_all_scores_finds(low, rows):
    queries, references = vectors(rows, 0), vectors(rows, 1)
    places = np.arange(rows) // 3  # up to three rows show one place
    ours = similar.rank_similar_rows(queries, references, places, 20)
    theirs = slow(queries, references, places, 20)
    shared = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(ours, theirs, strict=True)])
    assert shared >= (0.97 if low else 1.0)
    assert not (places[ours] == places[:, None]).any()
    scores = (queries[:, None] * references[torch.tensor(ours)]).sum(2)
    assert bool((scores.diff(dim=1) <= (0.01 if low else 1e-6)).all())


def test_rows_of_places_in_any_order_never_meet_their_own(low):
    places = np.random.default_rng(0).permutation(np.arange(90) // 6)
    near = similar.rank_similar_rows(vectors(90, 2), vectors(90, 3), places, 84)
    assert all(set(row) == set(np.flatnonzero(places != places[i])) for i, row in enumerate(near))


@pytest.mark.parametrize("keep", [0, 60])
def test_more_neighbours_than_other_rows_are_refused(keep):
    with pytest.raises(InvalidValue, match="1 to 59"):
        similar.rank_similar_rows(vectors(60, 0), vectors(60, 1), np.arange(60), keep)


def test_a_memory_keeps_the_latest_vectors_and_what_it_has_not_seen():
    memory = VectorMemory(5)
    memory.note(torch.tensor([1, 3]), vectors(2, 0), vectors(2, 1))
    memory.note(torch.tensor([3, 4]), vectors(2, 2), vectors(2, 3))
    assert memory.known.tolist() == [False, True, False, True, True]
    torch.testing.assert_close(memory.ground[3].float(), vectors(2, 2)[0], atol=1e-3, rtol=0)
    again = VectorMemory(5)
    again.load(memory.tensors())
    assert torch.equal(again.aerial, memory.aerial)
    with pytest.raises(BadModel, match="remembers 5 rows, this one has 6"):
        VectorMemory(6).load(memory.tensors())
    assert VectorMemory(3).tensors() == {}
