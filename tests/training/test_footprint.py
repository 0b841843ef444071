import math
from dataclasses import replace

import pytest
import torch
from tests.training.test_mining import request

from crossview.training import cost as module
from crossview.training.cost import TrainingFootprint, extra_memory_mb, measure_footprint
from crossview.training.session import prepare, start_state


def test_a_step_is_measured_pair_by_pair_and_leaves_no_gradients(tmp_path):
    session = prepare(request(tmp_path))
    state = start_state(session)
    found = measure_footprint(state.model, session.job)
    assert found.pair_s > 0
    assert found.batch == 4
    assert all(p.grad is None for p in state.model.parameters())


@pytest.mark.parametrize(
    ("fits", "chunk"), [(100.0, 16), (16.0, 16), (15.9, 8), (3.2, 2), (1.0, 1), (0.5, 0)]
)
def test_the_chunk_is_the_largest_power_of_two_that_fits(fits, chunk):
    assert module._chunk(fits, 16) == chunk


def test_unknown_memory_means_the_whole_batch():
    assert module._chunk(math.nan, 16) == 16


def test_chunks_cost_a_third_more_time():
    whole = TrainingFootprint(pair_mb=1, fixed_mb=2, free_mb=9, pair_s=3.0, batch=4, chunk=4)
    assert whole.step_s == 12.0
    assert replace(whole, chunk=2).step_s == 16.0
    assert whole.batch_mb == 6


def test_extra_memory_sees_a_large_array():
    found = extra_memory_mb(torch.device("cpu"), lambda: torch.ones(20_000_000).sum())
    assert math.isnan(found) or found > 60


@pytest.mark.parametrize(("free_mb", "chunk"), [(2600.0, 4), (2400.0, 2)])
def test_a_fifth_of_the_free_memory_is_kept(tmp_path, monkeypatch, free_mb, chunk):
    """Four pairs of 500 MB take 2,500 MB with the fifth that is kept."""
    sizes = iter([500.0, 1500.0])
    monkeypatch.setattr(module, "extra_memory_mb", lambda *_: next(sizes))
    monkeypatch.setattr(module, "free_memory_mb", lambda _: free_mb)
    session = prepare(request(tmp_path))
    assert measure_footprint(start_state(session).model, session.job).chunk == chunk
