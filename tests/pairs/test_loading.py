from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny_pairs import write_pairs

from crossview.datasets.pair_lists import load
from crossview.errors import BadData, BadImage, InvalidValue
from crossview.pairs.batch import RawBatch, Views, to_batch
from crossview.pairs.loading import Loader, Reader, read_pair
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Files
from crossview.views.spec import ViewSpec

VIEWS = Views(
    ground=ViewSpec(side="ground", height_px=8, width_px=32),
    aerial=ViewSpec(side="aerial", height_px=16, width_px=16, footprint_m=40.0),
)
PAGE = """
from dataclasses import dataclass, replace
@dataclass(frozen=True)
class Config:
    strength: int = 3
def augment(pair, config, rng):
    noise = rng.integers(0, 1 + config.strength, pair.ground.shape, dtype="uint8")
    return replace(pair, ground=pair.ground // 2 + noise)
"""


def tiny_reader(tmp_path, source=None, **settings):
    page = tmp_path / "page.py"
    page.write_text(PAGE, encoding="utf-8")
    table = load(write_pairs(tmp_path / "data", 6))["train"]
    known = {"page": PageRef.of_file(page), "config": {"strength": 9}, "seed": 1} | settings
    return Reader(
        table=table,
        source=source or Files(table, VIEWS),
        views=VIEWS,
        places=table.places(),
        **known,
    )


def epoch_of(reader, workers, start=0, epoch=0):
    with Loader(reader, workers) as loader:
        return list(loader.epoch(epoch, [[0, 1], [2, 3], [4, 5]], start))


def same(one: RawBatch, two: RawBatch) -> bool:
    names = ("ground", "aerial", "rows", "places", "fov_deg")
    return all(np.array_equal(getattr(one, n), getattr(two, n)) for n in names)


def test_batches_do_not_depend_on_the_number_of_workers(tmp_path):
    reader = tiny_reader(tmp_path)
    alone, helped = epoch_of(reader, 0), epoch_of(reader, 2)
    assert len(alone) == len(helped) == 3
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_starting_in_the_middle_gives_what_would_have_come(tmp_path):
    reader = tiny_reader(tmp_path)
    assert same(epoch_of(reader, 0)[2], epoch_of(reader, 0, start=2)[0])


def test_another_epoch_or_seed_draws_anew(tmp_path):
    reader = tiny_reader(tmp_path)
    first = epoch_of(reader, 0)[0]
    assert not same(first, epoch_of(reader, 0, epoch=1)[0])
    assert not same(first, epoch_of(replace(reader, seed=2), 0)[0])


def test_a_batch_has_the_sizes_of_the_views(tmp_path):
    raw = epoch_of(tiny_reader(tmp_path), 0)[1]
    assert raw.ground.shape == (2, 8, 32, 3)
    assert raw.aerial.shape == (2, 16, 16, 3)
    assert raw.rows.tolist() == raw.places.tolist() == [2, 3]


def test_a_normalised_mean_colour_is_zero():
    mean = np.full((2, 4, 4, 3), VIEWS.ground.mean_colour, dtype=np.uint8)
    numbers = np.zeros(2)
    raw = RawBatch(
        ground=mean, aerial=mean, rows=numbers, places=numbers, fov_deg=numbers, heading_deg=numbers
    )
    batch = to_batch(raw, VIEWS, torch.device("cpu"))
    assert batch.ground.shape == (2, 3, 4, 4)
    assert batch.ground.abs().max() < 0.01
    assert batch.aerial.is_contiguous(memory_format=torch.channels_last)


def test_a_panorama_of_known_heading_is_rolled_until_the_aerial_up_is_in_front(tmp_path):
    table = load(write_pairs(tmp_path, 1))["train"]
    north = read_pair(table, Files(table, VIEWS), 0)
    east = replace(table, heading_deg=np.array([90.0]))
    turned = read_pair(east, Files(east, VIEWS), 0)
    assert np.array_equal(turned.ground, np.roll(north.ground, 8, axis=1))
    assert turned.heading_deg == 0.0
    tilted = replace(east, up_bearing_deg=np.array([90.0]))
    assert np.array_equal(read_pair(tilted, Files(tilted, VIEWS), 0).ground, north.ground)


def test_less_than_half_a_column_stays_as_a_heading(tmp_path):
    table = load(write_pairs(tmp_path, 1))["train"]
    slightly = replace(table, heading_deg=np.array([47.0]))
    assert read_pair(slightly, Files(slightly, VIEWS), 0).heading_deg == pytest.approx(2.0)


def test_a_photo_without_a_field_of_view_is_refused_with_its_name(tmp_path):
    table = load(write_pairs(tmp_path, 1, extra={"kind": "perspective"}))["train"]
    with pytest.raises(BadData, match=r"g0\.png: a photo whose field of view"):
        read_pair(table, Files(table, VIEWS), 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_picture_is_named(tmp_path, workers):
    reader = tiny_reader(tmp_path)
    (tmp_path / "data" / "a3.png").write_bytes(b"no picture")
    with pytest.raises(BadImage, match=r"a3\.png"):
        epoch_of(reader, workers)


def test_views_of_different_size_cannot_share_a_batch(tmp_path):
    page = tmp_path / "narrow.py"
    page.write_text(
        PAGE.replace("pair.ground // 2 + noise", "pair.ground[:, : rng.integers(4, 30)]")
    )
    reader = tiny_reader(tmp_path, page=PageRef.of_file(page))
    with pytest.raises(InvalidValue, match="ground views of one batch differ in size"):
        epoch_of(reader, 0)


COPIES = """
from dataclasses import dataclass, replace
@dataclass(frozen=True)
class Config:
    strength: int = 3
def augment(pair, config, rng):
    view = pair.aerial[:16, :16] // 3
    return pair, replace(pair, ground=pair.ground[:, :20], aerial=view, viewed=True)
"""


def test_copies_of_a_place_stand_in_batches_of_their_own_row_by_row(tmp_path):
    page = tmp_path / "copies.py"
    page.write_text(COPIES, encoding="utf-8")
    batch = tiny_reader(tmp_path, page=PageRef.of_file(page)).batch(0, 0, [4, 1])
    (second,) = batch.more
    assert second.rows.tolist() == batch.rows.tolist() == [4, 1]
    assert np.array_equal(second.ground, batch.ground[:, :, :20])
    assert second.aerial.shape == (2, 16, 16, 3)  # as the page made it
    tensors = to_batch(batch, VIEWS, torch.device("cpu"))
    assert tensors.more[0].ground.shape == (2, 3, 8, 20)
