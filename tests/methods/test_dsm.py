"""DSM against slow, obvious loops: distances, turns, padding, and what an index makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from safetensors.torch import save_file
from torch import nn

from crossview.catalogue import configure, recipes
from crossview.errors import InvalidValue
from crossview.index.similarity import score_query
from crossview.methods import dsm
from crossview.pairs.batch import PairPixels
from crossview.training.contract import example_table
from crossview.training.cost import count_cost
from crossview.views.crops import compute_bin_coverage

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "weights": "none",
    "widths": (8, 8, 16, 16),
    "head": (16, 8, 4),
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "batch": 4,
}
LEARNING = {
    **{"widths": (16, 32, 32, 64), "head": (32, 32, 16), "frozen": 0, "dropout": 0.0},
    **{"headings": "aligned", "turn": "cosine", "lr": 5e-4, "steps": 80},
}
DSM = {
    "widths": (64, 128, 256, 512),
    "head": (256, 64, 16),
    "frozen": 7,
    "dropout": 0.2,
    "ground_px": (128, 512),
    "aerial_px": (128, 512),
    "fov_deg": 360.0,
    "headings": "unknown",
    "turn": "correlation",
    "whole": True,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
RELEASES = {
    **{name: DSM | {"headings": "aligned"} for name in ("cvusa", "cvact")},
    **{
        f"{name}-{t}": DSM | {"fov_deg": float(t)}
        for name in ("cvusa", "cvact")
        for t in (360, 180, 90, 70)
    },
}
SMALL = {
    "weights": "none",
    "widths": (4, 4, 8, 8),
    "head": (8, 6, 3),
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "dropout": 0.0,
}
BINS = 8


def tiny(**settings):
    torch.manual_seed(3)
    return dsm.Config(**{**SMALL, **settings})


def draw_maps(seen_bins, seed=0):
    """Ground [3, 8 * 2], zero beside the middle ``seen_bins``, and aerial [4, 8 * 2]."""
    draw = torch.Generator().manual_seed(seed)
    ground = torch.randn(3, BINS, 2, generator=draw, dtype=torch.float64)
    first = (BINS - seen_bins) // 2
    ground[:, :first] = ground[:, first + seen_bins :] = 0.0
    aerial = torch.randn(4, BINS, 2, generator=draw, dtype=torch.float64)
    return ground.flatten(1), aerial.flatten(1)


def measure_slowly(ground, aerial, seen_bins):
    """Section 3.3 in words: slide, take the highest product, crop there, normalise, subtract."""
    first = (BINS - seen_bins) // 2
    distances, turns = [], []
    for query in ground:
        part = query.reshape(BINS, 2)[first : first + seen_bins]
        part = part / part.norm()
        for reference in aerial:
            ring = reference.reshape(BINS, 2)
            windows = [
                torch.stack([ring[(first + j + turn) % BINS] for j in range(seen_bins)])
                for turn in range(BINS)
            ]
            products = [float((part * window).sum().detach()) for window in windows]
            turn = products.index(max(products))
            window = windows[turn] / windows[turn].norm()
            distances.append(2.0 - 2.0 * (part * window).sum())
            turns.append(turn)
    shape = (len(ground), len(aerial))
    return torch.stack(distances).reshape(shape), torch.tensor(turns).reshape(shape)


@pytest.mark.parametrize("seen_bins", [8, 4, 2])
def test_distances_and_turns_are_those_of_sliding_cropping_and_normalising(seen_bins):
    ground, aerial = (v.requires_grad_() for v in draw_maps(seen_bins))
    seen = torch.from_numpy(compute_bin_coverage([360.0 * seen_bins / BINS] * 3, BINS)).double()
    fast, turns = dsm.measure_turned_distances(ground, aerial, seen)
    slow, expected = measure_slowly(ground, aerial, seen_bins)
    assert torch.equal(turns, expected)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    weights = torch.rand(fast.shape, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((values * weights).sum(), (ground, aerial)) for values in (fast, slow)
    )
    shown = seen[0].bool().repeat_interleave(2)  # beyond it the network gives zeros, not numbers
    torch.testing.assert_close(ours[0][:, shown], theirs[0][:, shown], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-12)

    def distances(one, other):
        return dsm.measure_turned_distances(one, other, seen)[0]

    assert torch.autograd.gradcheck(distances, (ground, aerial))


@pytest.mark.parametrize("fov_deg", [360.0, 180.0, 90.0, 70.0])
def test_an_index_has_the_distances_of_the_cosine_rule_and_never_larger_ones(fov_deg):
    """With all 360 degrees both rules are one; less can make the paper take another turn."""
    ground, aerial = draw_maps(BINS, seed=5)
    seen = compute_bin_coverage([fov_deg] * 3, BINS)
    ours, turns = dsm.measure_turned_distances(ground, aerial, torch.from_numpy(seen), "cosine")
    papers, others = dsm.measure_turned_distances(ground, aerial, torch.from_numpy(seen))
    for row in range(3):
        query, refs = ground[row].float().numpy(), aerial.float().numpy()
        score, heading = score_query(query, refs, BINS, seen[row])
        np.testing.assert_allclose(2.0 - 2.0 * score, ours[row], atol=1e-5)
        np.testing.assert_allclose(heading, 360.0 * turns[row] / BINS)
    assert (ours <= papers + 1e-9).all()
    if fov_deg == 360.0:
        assert torch.equal(turns, others)
        torch.testing.assert_close(ours, papers)
    else:
        assert not torch.equal(turns, others)


def test_the_loss_is_that_of_all_triplets_of_these_distances():
    config = tiny(fov_deg=90.0)
    model = dsm.build(config).double()
    batch = make_batch(config, 4)
    (loss,) = dsm.objective(model, batch, config).values()
    seen = torch.from_numpy(compute_bin_coverage([90.0] * 4, config.bins))
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    d = dsm.measure_turned_distances(ground, aerial, seen)[0].detach()
    terms = [
        float(F.softplus(10.0 * (d[i, i] - wrong)))
        for i in range(4)
        for j in range(4)
        if i != j
        for wrong in (d[i, j], d[j, i])
    ]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def make_batch(config, count):
    """Noise of the sizes that training shows, in float64."""
    from crossview.training.contract import example_batch

    batch = example_batch(dsm.views(config), torch.device("cpu"))
    width = dsm.views(config).ground.columns(config.fov_deg)
    return replace(
        batch,
        ground=batch.ground[:count, :, :, :width].double(),
        aerial=batch.aerial[:count].double(),
        fov_deg=torch.full((count,), config.fov_deg),
    )


def test_a_turned_window_turns_the_blocks_of_the_aerial_branch_alone():
    config = tiny()
    model, picture = dsm.build(config).eval(), torch.rand(1, 3, 32, 128)
    turned = picture.roll(3 * dsm.STRIDE, dims=3)
    with torch.no_grad():
        blocks = [model.aerial(p).reshape(config.bins, -1) for p in (picture, turned)]
        strips = [model.ground(p).reshape(config.bins, -1) for p in (picture, turned)]
    torch.testing.assert_close(blocks[1], blocks[0].roll(3, dims=0), rtol=0, atol=1e-5)
    assert not torch.allclose(strips[1], strips[0].roll(3, dims=0), atol=1e-3)


@pytest.mark.parametrize(("columns", "bins"), [(128, 16), (64, 8), (32, 4), (25, 4), (24, 4)])
def test_a_sector_fills_the_bins_that_it_touches_about_the_middle(columns, bins):
    config = tiny()
    model = dsm.build(config).eval()
    with torch.no_grad():
        blocks = model.ground(torch.rand(1, 3, 32, columns)).reshape(config.bins, -1)
    first = (config.bins - bins) // 2
    filled = blocks.abs().sum(dim=1) > 0
    assert filled.tolist() == [first <= j < first + bins for j in range(config.bins)]
    assert float(blocks.norm()) == pytest.approx(1.0, abs=1e-5)


def test_a_sector_is_seen_as_if_it_were_alone_at_its_place_on_the_canvas():
    """Blocks of whole bins do not know how wide the canvas is: only their own columns count."""
    config = tiny()
    model, strip = dsm.build(config).eval(), torch.rand(1, 3, 32, 32)
    wide = replace(config, ground_px=(32, 256), aerial_px=(32, 256))
    other = dsm.build(wide).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        here = model.ground(strip).reshape(16, -1)[6:10]
        there = other.ground(strip).reshape(32, -1)[14:18]
    torch.testing.assert_close(here, there)


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_convolution_is_tensorflows_same(rows, ring):
    """Rows: one zero above and below at stride 1; below alone at stride 2, of an even height."""
    torch.manual_seed(rows)
    conv = dsm.Conv(2, 3, rows=rows, ring=ring).double()
    nn.init.normal_(conv.bias)
    picture = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    above = 1 if rows == 1 else 0

    def pixel(c, r, k):
        if not 0 <= r < 4 or (not ring and not 0 <= k < 5):
            return 0.0
        return float(picture[0, c, r, k % 5])

    slow = torch.zeros(1, 3, 4 // rows, 5, dtype=torch.float64)
    for o in range(3):
        for r in range(4 // rows):
            for k in range(5):
                slow[0, o, r, k] = conv.bias[o] + sum(
                    conv.weight[o, c, i, j] * pixel(c, r * rows + i - above, k + j - 1)
                    for c in range(2)
                    for i in range(3)
                    for j in range(3)
                )
    torch.testing.assert_close(conv(picture), slow, rtol=0, atol=1e-12)


def test_pictures_are_cut_to_one_field_of_view_at_any_heading_and_say_where_they_look():
    config = tiny(fov_deg=90.0)
    columns = np.arange(128, dtype=np.uint8)
    canvas = np.broadcast_to(columns[None, :, None], (32, 128, 3)).copy()
    pair = PairPixels(ground=canvas, aerial=canvas[:, :32], metres_per_px=1.0, heading_deg=2.0)
    headings = []
    for seed in range(40):
        seen = dsm.augment(pair, config, np.random.default_rng(seed))
        assert seen.ground.shape == (32, 32, 3)
        middle = (int(seen.ground[0, 0, 0]) + 16) * 360.0 / 128 - 180.0
        assert (seen.heading_deg - 2.0 - middle) % 360.0 == pytest.approx(0.0, abs=1e-6)
        assert seen.fov_deg == 90.0
        headings.append(seen.heading_deg % 360.0)
    assert np.histogram(headings, bins=4, range=(0, 360))[0].min() >= 3
    aligned = replace(config, headings="aligned")
    assert dsm.augment(pair, aligned, np.random.default_rng(0)).heading_deg == 2.0


def test_the_published_network_has_the_published_size():
    """17.94 M parameters and 37.8 G multiply-adds, as computed from the released code."""
    config = dsm.Config(weights="none")
    with torch.device("meta"):
        costs = count_cost(dsm.build(config), dsm.views(config))
    assert costs.parameters / 1e6 == pytest.approx(17.94, abs=0.005)
    assert costs.macs / 1e9 == pytest.approx(37.8, abs=0.1)


def test_a_random_start_is_scaled_by_pictures_once():
    config = tiny()
    model, batch = dsm.build(config), make_batch(tiny(), 4)
    batch = replace(batch, ground=batch.ground.float(), aerial=batch.aerial.float())
    dsm.measure(model, iter([batch]))
    maps = batch.aerial
    for n, conv in enumerate([*model.aerial.convs, *model.aerial.head]):
        maps = conv(maps)
        channels = maps.detach().transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=1e-4, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(len(channels)), atol=1e-4, rtol=0)
        maps = F.relu(maps)
        maps = F.max_pool2d(maps, 2) if n + 1 in dsm.POOLED else maps
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dsm.measure(model, iter([]))  # a network that has been measured, or trained, is left alone
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_pretrained_layers_are_frozen_and_random_ones_are_not():
    names = [name for name, _ in dsm.build(tiny()).named_parameters()]
    frozen = {n for n in names if dsm.rate(n, replace(tiny(), weights="hub")) == 0.0}
    assert frozen == {
        f"{side}.convs.{n}.{kind}"
        for side in ("ground", "aerial")
        for n in range(7)
        for kind in ("weight", "bias")
    }
    assert all(dsm.rate(name, tiny()) == 1.0 for name in names)


def test_recipes_are_the_papers_settings():
    for name, settings in recipes("dsm").items():
        _, config = configure("dsm", settings)
        data, _, fov = name.partition("-")
        assert data in ("cvusa", "cvact")
        assert (config.headings, config.fov_deg) == (
            ("unknown", float(fov)) if fov else ("aligned", 360.0)
        )
        assert (config.whole, config.batch, config.lr) == (True, 32, 1e-5)
        assert dsm.views(config).ground.columns(config.fov_deg) == int(512 * config.fov_deg / 360)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ground_px": (100, 512), "aerial_px": (100, 512)}, "multiples of 32 high and of 16 wide"),
        ({"ground_px": (128, 256)}, "must be equal"),
        ({"fov_deg": 0.0}, "fov_deg must lie in"),
        ({"headings": "known"}, "unknown or aligned"),
        ({"turn": "best"}, "correlation or cosine"),
        ({"widths": (8, 8)}, "widths needs 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(InvalidValue, match=message):
        dsm.Config(**settings)


def test_both_branches_start_as_the_first_ten_convolutions_of_vgg(monkeypatch):
    vgg = timm.create_model("vgg16", pretrained=False, num_classes=0, mlp_ratio=1 / 1024)
    monkeypatch.setattr(dsm.backbones, "backbone", lambda name, weights: vgg)
    model = dsm.build(dsm.Config())
    layers = [vgg.features[n] for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)]
    picture = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        expected = vgg.features[:23](picture)
        for branch in (model.ground.eval(), model.aerial.eval()):
            for conv, layer in zip(branch.convs, layers, strict=True):
                assert torch.equal(conv.weight, layer.weight)
                assert torch.equal(conv.bias, layer.bias)
        maps = picture
        for n, conv in enumerate(model.ground.convs):
            maps = model.ground._finish(n, conv(maps))
    torch.testing.assert_close(maps, expected)


def test_a_training_goes_on_from_an_earlier_run_of_another_field_of_view(tmp_path):
    first = dsm.build(tiny())
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    again = dsm.build(tiny(weights=str(tmp_path / "model.safetensors"), fov_deg=90.0))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_weights_of_vgg_do_not_fit_other_widths():
    with pytest.raises(InvalidValue, match="--no-pretrained"):
        dsm.build(dsm.Config(widths=(8, 8, 8, 8)))


def test_batches_of_one_region_stay_within_reach():
    table, generator = example_table(40), torch.Generator().manual_seed(1)
    config = tiny(batch=4, reach_m=300.0)
    first, *_ = dsm.batches(table, config, generator, None)
    assert max(first) - min(first) <= 12  # 50 m apart: 300 m to either side of one of them


def test_pairs_that_cannot_serve_are_refused():
    table = example_table(4)
    dsm.check(table, dsm.Config())
    photos = replace(table, perspective=np.ones(4, dtype=bool), fov_deg=np.full(4, 60.0))
    with pytest.raises(InvalidValue, match="show 60 degrees"):
        dsm.check(photos, dsm.Config(fov_deg=70.0))
    dsm.check(photos, dsm.Config(fov_deg=60.0))
    beside = replace(table, aerial_latlon=table.aerial_latlon + 2e-4)
    with pytest.raises(InvalidValue, match="from the middle"):
        dsm.check(beside, dsm.Config())
