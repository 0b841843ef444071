from dataclasses import replace

import numpy as np
import torch
from tests.training import tiny

from crossview.catalogue import configure
from crossview.training.loop import StepReport
from crossview.training.session import Request, prepare, start_state
from crossview.training.validation import embed_rows

SMALL = {
    **{"backbone": "test_convnext", "weights": "none", "aerial_px": 64, "ground_px": (32, 192)},
    **{"batch": 4, "epochs": 4, "refresh_epochs": 2, "neighbour_range": 5, "neighbour_select": 4},
    **{"theta_deg": (360.0, 100.0), "lr": 1e-3, "amp": False, "footprint_m": 60.0},
}


def request(folder, out="run", **settings) -> Request:
    """A SinGeo of one test network on 14 tiny pairs."""
    base = tiny.request(folder, places=14)
    page, config = configure("singeo", SMALL | {"elevation_deg": (-45.0, 45.0)} | settings)
    return replace(base, method="singeo", page=page, config=config, out=folder / out)


def widths_mined_at(monkeypatch):
    """Fields of view that queries are embedded with."""
    from crossview.training import mining

    seen = []

    def watched(state, rows, loader, views, fov_deg, **more):
        seen.append((fov_deg, len(rows)))
        return embed_rows(state, rows, loader, views, fov_deg, **more)

    monkeypatch.setattr(mining, "embed_rows", watched)
    return seen


def test_neighbours_are_sought_with_queries_cut_as_the_course_has_it(tmp_path, monkeypatch):
    seen = widths_mined_at(monkeypatch)
    tiny.trained(request(tmp_path))
    assert seen == [(360 - 260 * 2 / 4, 14)]


def test_from_the_epochs_own_vectors_only_rows_not_yet_seen_are_embedded(tmp_path, monkeypatch):
    seen = widths_mined_at(monkeypatch)
    session, _ = tiny.trained(request(tmp_path, mine_from="epoch"))
    assert session.job.mine is not None
    assert sum(rows for _, rows in seen) < 14


def test_own_vectors_find_what_a_pass_would_find_where_nothing_is_drawn(tmp_path):
    """Without augmentation and at rest, remembered vectors are those of a pass."""
    plain = {"mirror": 0.0, "turn": 0.0, "colour": 0.0, "course": "fixed"}
    still = request(tmp_path, mine_from="epoch", theta_deg=(360.0, 360.0), **plain)
    session = prepare(still)
    state = start_state(session)
    by_pass = session.job.mine(state)
    plain_reader = replace(session.reader, page=None, config={})
    from crossview.pairs.loading import Loader

    with Loader(plain_reader, 0) as loader:
        vectors = embed_rows(state, range(14), loader, session.job.views, 360.0)
    ground, aerial = torch.from_numpy(vectors.ground), torch.from_numpy(vectors.aerial)
    state.memory.note(torch.arange(14), ground, aerial)
    by_memory = session.job.mine(state)
    shared = [len(set(a) & set(b)) for a, b in zip(by_pass, by_memory, strict=True)]
    assert np.mean(shared) >= 4.5  # of 5; float16 moves the last places


def test_a_training_that_remembers_goes_on_exactly_where_it_was(tmp_path):
    whole = request(tmp_path, out="whole", mine_from="epoch")
    tiny.trained(whole)
    parts = request(tmp_path, out="parts", mine_from="epoch")
    tiny.trained(parts, stop_after=7)
    _, reports = tiny.trained(parts)
    assert next(r for r in reports if isinstance(r, StepReport)).step == 7
    weights = [(run.out / "model.safetensors").read_bytes() for run in (whole, parts)]
    assert weights[0] == weights[1]


def test_chunks_are_taken_from_the_config(tmp_path, monkeypatch):
    from crossview.training import loop as gradients

    sizes = []
    whole = gradients._parts
    monkeypatch.setattr(
        gradients, "_parts", lambda batch, size: sizes.append(size) or whole(batch, size)
    )
    tiny.trained(request(tmp_path, chunk=2, steps=1))
    assert sizes == [2]
