"""OriCNN against slow, obvious loops: its maps, its encoder, its pooling, near places."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from crossview.errors import InvalidValue
from crossview.methods import oricnn as page
from crossview.pairs.batch import PairPixels, to_batch
from crossview.pairs.loading import Reader
from crossview.pairs.page_ref import PageRef
from crossview.training.contract import example_batch, example_table
from crossview.training.cost import count_cost
from crossview.training.loop import Objective, backward

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {"widths": (8, 16, 32, 32), "ground_px": (32, 128), "aerial_px": (64, 64), "batch": 4}
LEARNING = {"widths": (16, 32, 48, 48), "crop": 1.0, "lr": 3e-3}
ORICNN = {
    "scheme": 1,
    "orientation": True,
    "widths": (64, 128, 256, 512, 512, 512, 512),
    "power": 3.0,
    "ground_px": (224, 1232),
    "aerial_px": (512, 512),
    "polar": False,
    "whole": True,
    "mapped_deg": (-32.7, 32.7),
    "alpha": 10.0,
    "negatives_from_m": 0.0,
    "shift": True,
    "crop": 512 / 750,
    "turn": 0.6,
    "batch": 12,
    "epochs": 100.0,
    "steps": 0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
CVACT = ORICNN | {"mapped_deg": (-45.0, 45.0), "crop": 0.4267, "negatives_from_m": 25.0}
RELEASES = {
    "cvusa": ORICNN,
    "cvusa-scheme2": ORICNN | {"scheme": 2},
    "cvact": CVACT,
    "cvact-scheme2": CVACT | {"scheme": 2},
}
SMALL = {"widths": (4, 6, 8, 8), "ground_px": (32, 64), "aerial_px": (32, 32), "batch": 4}


def tiny(**settings):
    torch.manual_seed(3)
    return page.Config(**{**SMALL, **settings})


def look_slowly(rows, columns, elevation_deg, ahead_deg):
    """Azimuth and elevation of every pixel of a panorama, one at a time."""
    bottom, top = elevation_deg
    maps = np.zeros((2, rows, columns))
    for r in range(rows):
        for c in range(columns):
            azimuth = 360.0 * (c + 0.5) / columns - 180.0 + ahead_deg
            while azimuth >= 180.0:
                azimuth -= 360.0
            while azimuth < -180.0:
                azimuth += 360.0
            elevation = top - (top - bottom) * (r + 0.5) / rows
            maps[:, r, c] = azimuth / 180.0, elevation / 180.0
    return maps


@pytest.mark.parametrize("ahead_deg", [0.0, 33.0, -270.0, 500.0])
def test_ground_maps_are_the_angles_of_each_pixel(ahead_deg):
    given = torch.tensor([ahead_deg, 0.0], dtype=torch.float64)
    found = page.make_ground_maps((4, 9), (-20.0, 40.0), given)
    for maps, angle in zip(found, given.tolist(), strict=True):
        np.testing.assert_allclose(maps, look_slowly(4, 9, (-20.0, 40.0), angle), atol=1e-12)


def look_down_slowly(rows, columns, reach, up_deg, share):
    """Bearing and distance of every pixel of a window, one at a time."""
    maps = np.zeros((2, rows, columns))
    for r in range(rows):
        for c in range(columns):
            right = share * ((c + 0.5) / columns - 0.5) * 2.0  # halves of the side
            up = share * (0.5 - (r + 0.5) / rows) * 2.0
            bearing = math.degrees(math.atan2(right, up)) + up_deg
            while bearing >= 180.0:
                bearing -= 360.0
            while bearing < -180.0:
                bearing += 360.0
            maps[:, r, c] = bearing / 180.0, 2.0 * math.hypot(right, up) / reach - 1.0
    return maps


@pytest.mark.parametrize(("up_deg", "share"), [(0.0, 1.0), (90.0, 0.7), (270.0, 1.0)])
@pytest.mark.parametrize("reach", [1.0, 2.0**0.5])
def test_aerial_maps_are_bearing_and_distance_of_each_pixel(up_deg, share, reach):
    up = torch.tensor([up_deg, 180.0], dtype=torch.float64)
    shares = torch.tensor([share, 0.9], dtype=torch.float64)
    found = page.make_aerial_maps((6, 8), reach, up, shares)
    for maps, one, other in zip(found.numpy(), up.tolist(), shares.tolist(), strict=True):
        slow = look_down_slowly(6, 8, reach, one, other)
        np.testing.assert_allclose(np.cos(np.pi * maps[0]), np.cos(np.pi * slow[0]), atol=1e-12)
        np.testing.assert_allclose(np.sin(np.pi * maps[0]), np.sin(np.pi * slow[0]), atol=1e-12)
        np.testing.assert_allclose(maps[1], slow[1], atol=1e-12)


def test_the_aerial_map_is_1_at_the_corner_or_at_the_edge():
    for radius, at_corner, at_edge in (("corner", 1.0, 0.4), ("edge", 1.8, 1.0)):
        branch = page.build(tiny(radius=radius)).aerial
        one = torch.ones(1)
        maps = page.make_aerial_maps((201, 201), branch.reach, 0 * one, one)[0, 1]
        assert maps[0, 0].item() == pytest.approx(at_corner, abs=0.05)
        assert maps[100, 200].item() == pytest.approx(at_edge, abs=0.05)
        assert maps[100, 100].item() == -1.0


def test_maps_go_with_a_shifted_panorama_and_a_turned_and_cropped_window():
    """What the authors do to maps as pictures is what the angles of the changed pictures are."""
    north = torch.zeros(1, dtype=torch.float64)
    whole = torch.ones(1, dtype=torch.float64)
    ground = page.make_ground_maps((4, 24), (-20.0, 40.0), north)
    shifted = page.make_ground_maps((4, 24), (-20.0, 40.0), north + 5 * 15.0)
    torch.testing.assert_close(shifted, ground.roll(-5, dims=3))
    aerial = page.make_aerial_maps((12, 12), 1.0, north, whole)
    for quarters in (1, 2, 3):
        turned = page.make_aerial_maps((12, 12), 1.0, north + 90.0 * quarters, whole)
        expected = aerial.rot90(quarters, (2, 3))
        torch.testing.assert_close(turned[:, 1], expected[:, 1])
        away = (turned[:, 0] - expected[:, 0] + 1.0).remainder(2.0) - 1.0
        assert away.abs().max() < 1e-12
    cropped = page.make_aerial_maps((6, 6), 1.0, north, whole / 2)
    torch.testing.assert_close(cropped, aerial[:, :, 3:9, 3:9])


def rebuild_slowly(encoder, values, maps, told):
    """The encoder in NumPy: SAME padding, 4 x 4 at stride 2, norms, pooling of the last three."""
    levels = []
    for number, conv in enumerate(encoder.convs):
        rows, columns = values.shape[1:]
        if told[number]:
            values = np.concatenate([values, maps(rows, columns)])
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        height, width = math.ceil(rows / 2), math.ceil(columns / 2)
        above = max((height - 1) * 2 + 4 - rows, 0) // 2  # TensorFlow: the odd one comes after
        left = max((width - 1) * 2 + 4 - columns, 0) // 2
        result = np.zeros((len(weight), height, width))
        for o in range(len(weight)):
            for r in range(height):
                for c in range(width):
                    total = bias[o]
                    for i in range(4):
                        for j in range(4):
                            row, column = 2 * r + i - above, 2 * c + j - left
                            if 0 <= row < rows and 0 <= column < columns:
                                total += weight[o, :, i, j] @ values[:, row, column]
                    result[o, r, c] = total
        if number:
            norm = encoder.norms[number - 1]
            spread = np.sqrt(norm.running_var.numpy() + 1e-5)
            scaled = (result - norm.running_mean.numpy()[:, None, None]) / spread[:, None, None]
            result = (
                scaled * norm.weight.detach().numpy()[:, None, None]
                + norm.bias.detach().numpy()[:, None, None]
            )
        levels.append(result)
        values = np.where(result > 0, result, 0.2 * result)
    return pool_slowly(levels[-3:], 3.0)


def pool_slowly(levels, power):
    """Sampled between the four nearest pixels at the middles of the last level's pixels."""
    height, width = levels[-1].shape[1:]
    means = []
    for level in levels:
        rows, columns = level.shape[1:]
        for channel in level:
            total = 0.0
            for r in range(height):
                for c in range(width):
                    y, x = (r + 0.5) * rows / height - 0.5, (c + 0.5) * columns / width - 0.5
                    top, left = math.floor(y), math.floor(x)
                    value = 0.0
                    for row in (top, top + 1):
                        for column in (left, left + 1):
                            weight = (1 - abs(y - row)) * (1 - abs(x - column))
                            value += weight * channel[min(row, rows - 1), min(column, columns - 1)]
                    total += max(value, 1e-6) ** power
            means.append((total / (height * width)) ** (1 / power))
    return np.array(means) / np.linalg.norm(means)


@pytest.mark.parametrize("size", [(22, 36), (32, 32)])
@pytest.mark.parametrize("scheme", [1, 2])
def test_both_schemes_are_those_of_plain_loops(scheme, size):
    """Also where maps have odd sides, as 7 x 39 at full size."""
    config = tiny(scheme=scheme, ground_px=size)
    branch = page.build(config).double().eval().ground
    with torch.no_grad():
        for norm in branch.encoder.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
            norm.bias.normal_()
        for conv in branch.encoder.convs:
            conv.weight.mul_(20.0)
            conv.bias.normal_()
    picture = torch.randn(1, 3, *size, dtype=torch.float64)
    ahead = torch.tensor([40.0], dtype=torch.float64)

    def maps(rows, columns):
        return look_slowly(rows, columns, config.elevation_deg, 40.0)

    told = [True] + [scheme == 2] * 3
    slow = rebuild_slowly(branch.encoder, picture[0].numpy(), maps, told)
    np.testing.assert_allclose(branch(picture, ahead)[0].detach(), slow, atol=1e-10)


def test_pooling_is_a_mean_at_power_1_and_a_maximum_at_a_large_one():
    levels = [torch.rand(2, 3, *size, dtype=torch.float64) + 0.1 for size in ((7, 9), (4, 5))]
    for power in (1.0, 3.0, 200.0):
        found = page.pool_levels(levels, power)
        for n in range(2):
            slow = pool_slowly([level[n].numpy() for level in levels], power)
            np.testing.assert_allclose(found[n], slow, atol=1e-12)
    last = levels[-1]
    mean, largest = (page.pool_levels([last], power) for power in (1.0, 500.0))
    torch.testing.assert_close(mean, functional.normalize(last.mean(dim=(2, 3)), dim=1))
    torch.testing.assert_close(
        largest, functional.normalize(last.amax(dim=(2, 3)), dim=1), rtol=0.02, atol=0.02
    )


def test_the_gradients_of_pooling_are_those_of_differences():
    levels = [
        (torch.rand(2, 2, *size, dtype=torch.float64) + 0.1).requires_grad_()
        for size in ((5, 6), (3, 3), (2, 2))
    ]
    assert torch.autograd.gradcheck(lambda *given: page.pool_levels(list(given), 3.0), levels)


def test_without_being_told_north_is_in_the_middle_of_both_views():
    model, batch = page.build(tiny()).eval(), example_batch(page.views(tiny()), torch.device("cpu"))
    zeros, ones = torch.zeros(4), torch.ones(4)
    with torch.no_grad():
        assert torch.equal(model.ground(batch.ground), model.ground(batch.ground, zeros))
        plain = model.aerial(batch.aerial)
        torch.testing.assert_close(plain, model.aerial(batch.aerial, zeros, ones))
        turned = model.aerial(batch.aerial, zeros + 90.0, ones)
    assert (plain - turned).abs().max() > 1e-4


def test_what_augment_does_is_what_the_objective_is_told():
    """The vectors of changed pictures are those of changed pictures beside changed maps."""
    config = tiny(aerial_px=(32, 32), footprint_m=32.0)
    pair = PairPixels(
        ground=np.random.default_rng(1).integers(0, 255, (32, 64, 3), dtype=np.uint8),
        aerial=np.random.default_rng(2).integers(0, 255, (32, 32, 3), dtype=np.uint8),
        metres_per_px=1.0,
        heading_deg=0.5,
    )
    seen = [page.augment(pair, config, np.random.default_rng(seed)) for seed in range(60)]
    for one in seen:
        up, share = one.told
        ahead = (one.heading_deg + up) % 360.0  # of the middle column, from north
        columns = round((ahead - 0.5) / 360.0 * 64)
        np.testing.assert_array_equal(one.ground, np.roll(pair.ground, -columns, axis=1))
        assert one.aerial.shape == (32, 32, 3)
        if share == 1.0:
            np.testing.assert_array_equal(one.aerial, np.rot90(pair.aerial, round(up / 90.0)))
    turns = np.bincount([round(one.told[0] / 90.0) for one in seen], minlength=4) / 60
    assert turns[0] == pytest.approx(0.4, abs=0.15)
    shares = [one.told[1] for one in seen]
    assert np.mean([share == 1.0 for share in shares]) == pytest.approx(config.crop, abs=0.15)
    assert min(shares) > config.crop
    off = replace(config, shift=False, turn=0.0, crop=1.0)
    still = page.augment(pair, off, np.random.default_rng(0))
    assert (still.heading_deg, still.told) == (0.5, (0.0, 1.0))


def read_batch(table, config, rows):
    """A batch of made-up pictures, read as a training reads it."""

    class Source:
        def ground(self, index):
            return np.full((32, 64, 3), 40 * index, np.uint8), 360.0

        def aerial(self, index):
            return np.full((32, 32, 3), 40 * index, np.uint8), 2.0

    settings = {**SMALL, "footprint_m": 60.0, "negatives_from_m": config.negatives_from_m}
    reader = Reader(
        table=table,
        source=Source(),
        views=page.views(page.Config(**settings)),
        places=table.places(),
        page=PageRef("crossview.methods.oricnn"),
        config=settings,
        seed=1,
    )
    raw = reader.batch(0, 0, rows)
    return raw, to_batch(raw, reader.views, torch.device("cpu"))


def place_table(metres):
    """Rows on a line north, so many metres from its beginning; NaN: nobody knows where."""
    table = example_table(len(metres))
    degrees = np.array(metres) / 6_371_008.8 * 180.0 / np.pi
    latlon = np.stack([degrees - 35.0, np.full(len(metres), 149.0)], axis=1)
    return replace(table, ground_latlon=latlon, aerial_latlon=latlon.copy())


def test_a_batch_says_how_far_apart_its_places_are_where_that_is_asked():
    table = place_table([0.0, 20.0, 46.0, 500.0])
    raw, batch = read_batch(table, tiny(negatives_from_m=25.0), [3, 0, 1, 2])
    metres = np.array([500.0, 0.0, 20.0, 46.0])
    np.testing.assert_allclose(raw.apart_m, abs(metres[:, None] - metres), atol=1e-3)
    assert batch.part(1, 3).apart_m.shape == (2, 4)
    assert read_batch(table, tiny(), [3, 0, 1, 2])[1].apart_m is None


def lose_slowly(ground, aerial, metres, apart_m):
    """The loss with near places left out on both sides, in a double loop."""
    means = []
    for anchors, others in ((ground, aerial), (aerial, ground)):
        terms = []
        for i in range(len(ground)):
            for j in range(len(ground)):
                near = abs(metres[i] - metres[j]) < apart_m  # so no place is its own negative
                if not near:
                    true = 2 - 2 * float(anchors[i] @ others[i])
                    wrong = 2 - 2 * float(anchors[i] @ others[j])
                    terms.append(math.log(1 + math.exp(10 * (true - wrong))))
        means.append(sum(terms) / len(terms))
    return sum(means) / 2


def test_places_nearer_than_25_metres_are_no_negatives():
    config = tiny(negatives_from_m=25.0)
    metres = [0.0, 20.0, 46.0, 500.0, math.nan]
    _, batch = read_batch(place_table(metres), config, [0, 1, 2, 3, 4])
    torch.manual_seed(5)
    sides = [functional.normalize(torch.randn(5, 8).double(), dim=1) for _ in range(2)]
    apart_m = batch.apart_m.double()

    def lose(ground, aerial):
        vectors = {"ground": ground, "aerial": aerial, "apart_m": apart_m}
        return page.contrast(None, vectors, config)["triplet"]

    known = [0.0, 20.0, 46.0, 500.0, 9e9]  # an unknown place counts as far
    expected = lose_slowly(*sides, known, 25.0)
    assert lose(*sides).item() == pytest.approx(expected, rel=1e-9)
    assert lose_slowly(*sides, known, 1e-9) != pytest.approx(expected, rel=1e-3)
    assert torch.autograd.gradcheck(lose, [side.requires_grad_() for side in sides])


def test_a_batch_of_near_places_alone_teaches_nothing_and_breaks_nothing():
    vectors = {"ground": torch.eye(3, requires_grad=True), "aerial": torch.eye(3)}
    loss = page.contrast(
        None, {**vectors, "apart_m": torch.zeros(3, 3)}, tiny(negatives_from_m=25.0)
    )
    loss["triplet"].backward()
    assert loss["triplet"].item() == 0.0
    assert not vectors["ground"].grad.any()


def test_chunks_give_the_gradients_of_the_whole_batch():
    config = tiny(negatives_from_m=25.0)
    _, batch = read_batch(place_table([0.0, 20.0, 46.0, 500.0]), config, [0, 1, 2, 3])
    torch.manual_seed(7)
    batch = replace(
        batch, ground=torch.randn_like(batch.ground), aerial=torch.randn_like(batch.aerial)
    )
    found = []
    for chunk in (0, 2):
        torch.manual_seed(3)
        model = page.build(config).eval()
        passed = backward(model, batch, Objective(page=page, config=config, amp=False, chunk=chunk))
        found.append((passed.losses, {n: p.grad for n, p in model.named_parameters()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-3, atol=1e-6)


WIDTHS = (64, 128, 256, 512, 512, 512, 512)


@pytest.mark.parametrize("scheme", [1, 2])
def test_the_network_has_the_published_size_layer_by_layer(scheme):
    """Scheme I: 30.7 M parameters, as computed from the released code."""
    config = page.Config(scheme=scheme)
    with torch.device("meta"):
        costs = count_cost(page.build(config), page.views(config))
    told = [2] + [2 if scheme == 2 else 0] * 6
    convs = [
        16 * (given + maps) * width + width
        for given, maps, width in zip((3, *WIDTHS), told, WIDTHS, strict=False)
    ]
    assert costs.parameters == 2 * (sum(convs) + sum(2 * width for width in WIDTHS[1:]))
    if scheme == 1:
        assert costs.parameters / 1e6 == pytest.approx(30.7, abs=0.05)


def test_vectors_have_the_published_length_and_maps_the_published_sizes():
    config = page.Config()
    with torch.device("meta"):
        branch = page.build(config).ground.eval()
    sizes = []
    for conv in branch.encoder.convs:
        conv.register_forward_hook(lambda module, given, made: sizes.append(tuple(made.shape[2:])))
    assert branch(torch.empty(1, 3, 224, 1232, device="meta")).shape == (1, 1536)
    assert sizes[-3:] == [(7, 39), (4, 20), (2, 10)]


def test_maps_of_whole_panoramas_have_the_angles_that_are_told_for_them():
    spans = {"elevation_deg": (-30.0, 30.0), "mapped_deg": (-45.0, 45.0)}
    found = [page.build(tiny(whole=whole, **spans)).ground.elevation_deg for whole in (False, True)]
    assert found == [(-30.0, 30.0), (-45.0, 45.0)]


def test_colours_alone_have_no_maps_and_ask_for_no_heading():
    config = tiny(orientation=False)
    assert page.build(config).ground.encoder.convs[0].weight.shape[1] == 3
    unknown = replace(example_table(4), heading_deg=np.full(4, np.nan))
    page.check(unknown, config)


def test_pairs_that_cannot_be_oriented_are_refused():
    table = example_table(4)
    page.check(table, tiny())
    heading = table.heading_deg.copy()
    heading[1] = np.nan
    with pytest.raises(InvalidValue, match="1 of 4 ground pictures have no heading"):
        page.check(replace(table, heading_deg=heading), tiny())
    beside = replace(table, aerial_latlon=table.aerial_latlon + 5e-4)
    with pytest.raises(InvalidValue, match=r"azimuths about the camera, but .* from the middle"):
        page.check(beside, tiny())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheme": 3}, "scheme must be 1 or 2, got 3"),
        ({"radius": "side"}, "radius must be corner or edge"),
        ({"widths": (8, 8)}, "widths needs at least 3 layers"),
        ({"power": 0.0}, "power must be above 0"),
        ({"negatives_from_m": -1.0}, "negatives_from_m must be at least 0"),
        ({"crop": 1.5}, "crop is a share"),
        ({"turn": -0.1}, "turn is a probability"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InvalidValue, match=said):
        page.Config(**settings)
