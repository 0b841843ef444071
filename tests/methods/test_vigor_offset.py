"""The numbers of VIGOR's method against slow, obvious loops, and what its pairs must have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.methods.shared_settings import MINING, VIGOR_LAYOUT
from tests.tiny_tiles import write_tiles
from torch.nn import functional

from crossview import catalogue
from crossview.datasets.pair_lists import load
from crossview.errors import InvalidValue
from crossview.methods import vigor_offset as page
from crossview.pairs.batch import PairPixels, TrainingLength, TrainingProgress
from crossview.pairs.loading import Reader
from crossview.pairs.page_ref import PageRef
from crossview.pairs.reading import Files
from crossview.training.contract import TrainingRecipe, example_batch, example_table
from crossview.training.loop import Objective, backward

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (32, 32),
    "hidden": 16,
    "plain_epochs": 0,
    "batch": 4,
}
LEARNING = {"iou": 0.0}
VIGOR = (
    VIGOR_LAYOUT
    | MINING
    | {
        "backbone": "vgg16.tv_in1k",
        "masks": 8,
        "alpha": 10.0,
        "iou": 0.1,
        "offset": 0.01,
        "hidden": 512,
        "lr": 1e-5,
        "weight_decay": 0.0,
    }
)
RELEASES = {
    "vigor-same": VIGOR | {"plain_epochs": 30.0, "epochs": 45.0},
    "vigor-cross": VIGOR | {"plain_epochs": 11.0, "epochs": 21.0},
}
SMALL = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 64),
    "aerial_px": (32, 32),
    "footprint_m": 60.0,
    "hidden": 8,
    "plain_epochs": 0,
    "batch": 4,
}
TILE_PX = 640


def count_overlap(down: int, right: int) -> float:
    """Intersection over union of two squares of 640 pixels, pixel by pixel along each axis."""
    rows = len(set(range(TILE_PX)) & set(range(down, down + TILE_PX)))
    columns = len(set(range(TILE_PX)) & set(range(right, right + TILE_PX)))
    both = rows * columns
    return both / (2 * TILE_PX**2 - both)


@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (160, 0), (-160, 160), (37, -251), (320, 320), (366, -10), (640, 1)]
)
def test_the_overlap_of_tiles_is_that_of_counted_pixels(down, right):
    halves = torch.tensor([[down / 320, right / 320]], dtype=torch.float64)
    assert page.measure_overlap(halves).item() == pytest.approx(count_overlap(down, right))


def unit(rng, count=6, dim=10):
    return functional.normalize(torch.tensor(rng.standard_normal((count, dim)) + 1.0), dim=1)


def sum_slowly(ground, aerial, near, offsets_px, near_px):
    """The paper's L_IOU: a loop over pairs, overlaps counted in pixels."""
    total = 0.0
    for row in range(len(ground)):
        alike = sum(float(g) * float(a) for g, a in zip(ground[row], aerial[row], strict=True))
        beside = sum(float(g) * float(n) for g, n in zip(ground[row], near[row], strict=True))
        ratio = count_overlap(*near_px[row]) / count_overlap(*offsets_px[row])
        total += (beside / alike - ratio) ** 2
    return total / len(ground)


def test_near_misses_are_assigned_by_overlap_as_a_slow_loop_says():
    rng = np.random.default_rng(4)
    ground, aerial, near = (unit(rng) for _ in range(3))
    offsets_px, near_px = rng.integers(-160, 161, (6, 2)), rng.integers(-320, 321, (6, 2))
    ratio = page.measure_overlap(torch.tensor(near_px / 320)) / page.measure_overlap(
        torch.tensor(offsets_px / 320)
    )
    ours = page.assign_by_overlap(ground, aerial, near, ratio)
    assert ours.dtype == torch.float64
    assert ours.item() == pytest.approx(sum_slowly(ground, aerial, near, offsets_px, near_px))


def test_the_gradients_of_the_assignment_are_those_of_differences():
    rng = np.random.default_rng(5)
    sides = [unit(rng).requires_grad_() for _ in range(3)]
    ratio = torch.tensor(rng.uniform(0.2, 1.0, 6))
    assert torch.autograd.gradcheck(lambda *s: page.assign_by_overlap(*s, ratio), sides)


def regress_slowly(head, ground, aerial, targets):
    """The head and its squared error, number by number."""
    inner, inner_bias = head.inner.weight.tolist(), head.inner.bias.tolist()
    outer, outer_bias = head.outer.weight.tolist(), head.outer.bias.tolist()
    total = 0.0
    for g, a, target in zip(ground.tolist(), aerial.tolist(), targets.tolist(), strict=True):
        both = [*g, *a]
        hidden = [
            max(0.0, b + sum(w * v for w, v in zip(row, both, strict=True)))
            for row, b in zip(inner, inner_bias, strict=True)
        ]
        for row, b, wanted in zip(outer, outer_bias, target, strict=True):
            told = b + sum(w * v for w, v in zip(row, hidden, strict=True))
            total += (told - wanted) ** 2
    return total / (2 * len(ground))


def losses_of(vectors, config):
    torch.manual_seed(2)
    head = page.OffsetHead(10, config.hidden).double()
    model = torch.nn.Module()
    model.offset = head
    return head, page.contrast(model, vectors, config)


def test_the_regression_is_that_of_a_slow_loop_and_carries_its_weight():
    rng = np.random.default_rng(6)
    ground, aerial = unit(rng), unit(rng)
    camera = torch.tensor(rng.uniform(-0.5, 0.5, (6, 2)))
    config = page.Config(**SMALL)
    head, losses = losses_of({"ground": ground, "aerial": aerial, "camera": camera}, config)
    expected = regress_slowly(head, ground, aerial, camera)
    assert set(losses) == {"triplet", "offset"}
    assert losses["offset"].item() == pytest.approx(expected / 100)


def test_the_gradients_of_the_regression_are_those_of_differences():
    rng = np.random.default_rng(7)
    sides = [unit(rng).requires_grad_() for _ in range(2)]
    torch.manual_seed(3)
    head, target = page.OffsetHead(10, 8).double(), torch.tensor(rng.uniform(-0.5, 0.5, (6, 2)))
    assert torch.autograd.gradcheck(lambda g, a: functional.mse_loss(head(g, a), target), sides)


def test_rows_of_unknown_places_and_without_near_misses_teach_neither():
    rng = np.random.default_rng(8)
    camera = torch.tensor(rng.uniform(-0.5, 0.5, (6, 2)))
    near_camera = torch.tensor(rng.uniform(-1.0, 1.0, (6, 2)))
    vectors = {name: unit(rng) for name in ("ground", "aerial", "near")}
    config = page.Config(**SMALL)
    some = slice(0, 3)
    few = {name: v[some] for name, v in vectors.items()}
    _, alone = losses_of(few | {"camera": camera[some], "near_camera": near_camera[some]}, config)
    camera[3:], near_camera[3:5] = math.nan, math.nan
    _, masked = losses_of(vectors | {"camera": camera, "near_camera": near_camera}, config)
    assert masked["iou"].item() == pytest.approx(alone["iou"].item())
    assert masked["offset"].item() == pytest.approx(alone["offset"].item())
    none = {"camera": torch.full_like(camera, math.nan), "near_camera": near_camera}
    assert set(losses_of(vectors | none, config)[1]) == {"triplet"}


def test_chunks_give_the_gradients_of_the_whole_batch():
    config = page.Config(**SMALL)
    batch = example_batch(page.views(config), torch.device("cpu"), more=1)
    found = []
    for chunk in (0, 2):
        torch.manual_seed(3)
        model = page.build(config).eval()
        passed = backward(model, batch, Objective(page=page, config=config, amp=False, chunk=chunk))
        found.append((passed.losses, {n: p.grad for n, p in model.named_parameters()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert set(found[0][0]) == {"loss", "triplet", "iou", "offset"}
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-3, atol=1e-5)


def test_the_first_stage_has_places_alone_and_the_second_all():
    config = page.Config(plain_epochs=2, epochs=4)
    length, rng = TrainingLength(epochs=4, batches=5), np.random.default_rng(0)
    stages = [
        page.staged(config, TrainingProgress(span=length, epoch=epoch), rng) for epoch in range(4)
    ]
    assert [(c.iou, c.offset, c.near_misses) for c in stages] == [
        *[(0.0, 0.0, False)] * 2,
        *[(0.1, 0.01, True)] * 2,
    ]
    pixels = np.zeros((4, 4, 3), np.uint8)
    pair = PairPixels(ground=pixels, aerial=pixels, metres_per_px=1.0, camera_m=(1.0, 2.0))
    assert all(math.isnan(number) for number in page.augment(pair, stages[0], rng).camera_m)
    near = replace(pair, camera_m=(3.0, 4.0))
    first, second = page.augment(replace(pair, companion=near), stages[2], rng)
    assert (first.camera_m, second.camera_m) == ((1.0, 2.0), (3.0, 4.0))


def read_batch(folder, **settings):
    table = load(write_tiles(folder))["train"]
    config = page.Config(**SMALL | settings)
    reader = Reader(
        table=table,
        source=Files(table, page.views(config)),
        views=page.views(config),
        places=table.places(),
        page=PageRef("crossview.methods.vigor_offset"),
        config=SMALL | settings,
        seed=1,
    )
    return table, reader.batch(0, 0, [0, 1, 2, 3])


@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_says_where_cameras_stand_in_their_tiles_and_near_misses(tmp_path, whole):
    """Tiles of 60 m every 30 m; the shares are those of the coordinates."""
    table, raw = read_batch(tmp_path, whole=whole)
    (near,) = raw.more
    assert np.abs(raw.camera).max() <= 0.5 + 1e-3
    assert np.abs(near.camera).max(axis=1).min() >= 0.5 - 1e-3
    for row in range(4):
        g, a = table.pairs[row]
        north, east = (
            (table.ground_latlon[g] - table.aerial_latlon[a]) * np.radians(1.0) * 6_371_008.8
        )
        east *= math.cos(math.radians(table.aerial_latlon[a, 0]))
        assert raw.camera[row] == pytest.approx([-north / 30, east / 30], abs=1e-3)
        assert not np.array_equal(raw.aerial[row], near.aerial[row])
    assert np.array_equal(raw.ground, near.ground)


def test_pairs_without_near_misses_are_refused_before_anything_is_read():
    with pytest.raises(InvalidValue, match=r"no near-misses: no row .*relation = ignore"):
        page.check(example_table(8), page.Config())
    page.check(example_table(8), page.Config(iou=0.0))


def test_pairs_without_places_are_refused_before_anything_is_read():
    table = example_table(8)
    nowhere = replace(table, aerial_latlon=np.full((8, 2), np.nan))
    with pytest.raises(InvalidValue, match=r"do not say where in its aerial picture"):
        page.check(nowhere, page.Config(iou=0.0))
    page.check(nowhere, page.Config(iou=0.0, offset=0.0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"iou": -1.0}, "iou is a weight"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"epochs": 10.0}, "epochs end before near-misses"),
        ({"reduce": "sum"}, "reduce must be mean or max"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InvalidValue, match=said):
        page.Config(**settings)


@pytest.mark.parametrize(
    ("method", "name", "epochs", "plain"),
    [
        ("vigor-offset", "vigor-same", 45.0, 30.0),
        ("vigor-offset", "vigor-cross", 21.0, 11.0),
        ("safa", "vigor-same-mining", 30.0, None),
        ("safa", "vigor-cross-mining", 11.0, None),
    ],
)
def test_the_recipes_are_the_authors_schedule(method, name, epochs, plain):
    """Section 5 and 6 of what is known of the released code."""
    config = catalogue.configure(method, catalogue.recipe(method, name))[1]
    recipe = TrainingRecipe.of(config)
    assert (config.epochs, getattr(config, "plain_epochs", None)) == (epochs, plain)
    assert (config.batch, config.lr, config.masks, config.reduce) == (14, 1e-5, 8, "max")
    assert (config.ground_px, config.aerial_px, config.whole) == ((320, 640), (320, 320), True)
    assert (recipe.refresh_epochs, recipe.mine_from, config.neighbour_range) == (1, "epoch", 100)
    assert recipe.lr_at(0, 52_609) == 1e-5
    assert recipe.lr_at(150_000, 52_609) == pytest.approx(1e-6)
    assert not config.polar
