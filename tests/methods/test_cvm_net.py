"""CVM-Net against slow, obvious loops: NetVLAD, its clustering, the two phases of its loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from crossview.errors import InvalidValue
from crossview.methods import cvm_net as page
from crossview.pairs.batch import PairPixels, TrainingLength, TrainingProgress
from crossview.training.contract import example_batch
from crossview.training.cost import count_cost

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "clusters": 8,
    "dim": 64,
    "ground_px": (32, 128),
    "aerial_px": (64, 64),
    "batch": 4,
}
LEARNING = {"backbone": "test_resnet@8", "crop": 1.0, "plain_epochs": 2.0, "lr": 5e-4}
CVM_NET = {
    "variant": "I",
    "backbone": "vgg16.tv_in1k",
    "ground_px": (224, 1232),
    "aerial_px": (512, 512),
    "polar": False,
    "whole": True,
    "clusters": 64,
    "dim": 4096,
    "frozen": True,
    "alpha": 10.0,
    "batch": 12,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
RELEASES = {
    "cvusa": CVM_NET | {"crop": 512 / 750},
    "cvusa-ii": CVM_NET | {"crop": 512 / 750, "variant": "II"},
    "cvact": CVM_NET | {"crop": 0.4267},
    "cvact-ii": CVM_NET | {"crop": 0.4267, "variant": "II"},
}
SMALL = TINY | {"clusters": 3, "dim": 8, "ground_px": (32, 64), "aerial_px": (32, 32)}


def tiny(**settings):
    torch.manual_seed(3)
    return page.Config(**{**SMALL, **settings})


def draw_vlad(channels=4, clusters=3):
    torch.manual_seed(1)
    vlad = page.NetVlad(channels, clusters).double().eval()
    with torch.no_grad():
        for tensor in (vlad.norm.weight, vlad.norm.bias, vlad.norm.running_mean):
            tensor.copy_(torch.randn(clusters))
        vlad.norm.running_var.copy_(torch.rand(clusters) + 0.5)
    return vlad


def aggregate_slowly(vlad, features):
    """NetVLAD's sums, number by number."""
    norm, vectors = {name: value.tolist() for name, value in vlad.norm.state_dict().items()}, []
    for picture in features.tolist():
        channels, positions = len(picture), len(picture[0])
        sums = [[0.0] * channels for _ in vlad.centres]
        for n in range(positions):
            x = [picture[c][n] for c in range(channels)]
            length = math.sqrt(sum(v * v for v in x))
            x = [v / length for v in x]
            logits = []
            for k, row in enumerate(vlad.assign.tolist()):
                raw = sum(w * v for w, v in zip(row, x, strict=True))
                spread = math.sqrt(norm["running_var"][k] + vlad.norm.eps)
                raw = (raw - norm["running_mean"][k]) / spread
                logits.append(raw * norm["weight"][k] + norm["bias"][k])
            total = sum(math.exp(logit) for logit in logits)
            for k, centre in enumerate(vlad.centres.tolist()):
                share = math.exp(logits[k]) / total
                for c in range(channels):
                    sums[k][c] += share * (x[c] - centre[c])
        for one in sums:
            length = math.sqrt(sum(v * v for v in one))
            one[:] = [v / length for v in one]
        flat = [v for one in sums for v in one]
        length = math.sqrt(sum(v * v for v in flat))
        vectors.append([v / length for v in flat])
    return torch.tensor(vectors, dtype=torch.float64)


def test_netvlad_is_the_sum_of_residuals_of_a_slow_loop():
    vlad, features = draw_vlad(), torch.randn(2, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(vlad(features), aggregate_slowly(vlad, features), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_the_gradients_of_netvlad_are_those_of_differences(training):
    vlad = draw_vlad().train(training)
    features = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    weights = [vlad.assign, vlad.centres, vlad.norm.weight, vlad.norm.bias]
    names = ["assign", "centres", "norm.weight", "norm.bias"]

    def aggregate(features, *weights):
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(vlad, given, (features,))

    assert torch.autograd.gradcheck(aggregate, (features, *weights))


def test_a_feature_counts_by_its_direction_alone():
    vlad, features = draw_vlad(), torch.randn(2, 4, 5, dtype=torch.float64)
    louder = features * (1.0 + torch.rand(2, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(vlad(features), vlad(louder))


def test_clustering_finds_the_middles_of_groups_of_directions():
    """Three far groups of directions: each centre is the mean of one, as counted by hand."""
    torch.manual_seed(2)
    axes = torch.eye(4, dtype=torch.float64)[:3]
    groups = [functional.normalize(a + 0.05 * torch.randn(20, 4).double(), dim=1) for a in axes]
    features = torch.stack([row for rows in zip(*groups, strict=True) for row in rows])
    vlad = page.NetVlad(4, 3).double()
    with torch.no_grad():
        vlad.begin_at(features.T[None])
    expected = torch.stack([group.mean(dim=0) for group in groups])
    found = vlad.centres[(expected @ vlad.centres.T).argmax(dim=1)]
    torch.testing.assert_close(found.detach(), expected)
    assert torch.equal(vlad.assign, vlad.centres)


@pytest.mark.parametrize("variant", ["I", "II"])
def test_only_a_network_that_asks_for_it_is_clustered(variant):
    batch = example_batch(page.views(tiny()), torch.device("cpu"))
    plain = page.build(tiny(variant=variant))
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    page.measure(plain, iter([batch]))
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    asking = page.build(tiny(variant=variant, centres="clustered"))
    page.measure(asking, iter([batch]))
    vlads = dict(asking.vlad.items())
    assert set(vlads) == ({"ground", "aerial"} if variant == "I" else {"both"})
    for vlad in vlads.values():
        assert torch.equal(vlad.assign, vlad.centres)
        assert vlad.centres.norm(dim=1).max() <= 1.0 + 1e-6  # means of unit vectors


def test_the_hardest_negatives_are_kept_once_the_first_phase_is_over():
    config = page.Config(plain_epochs=2, epochs=4, nearest=1)
    length, rng = TrainingLength(epochs=4, batches=5), np.random.default_rng(0)
    stages = [
        page.staged(config, TrainingProgress(span=length, epoch=epoch), rng) for epoch in range(4)
    ]
    assert [stage.nearest for stage in stages] == [0, 0, 1, 1]


def test_variant_ii_shares_all_but_trunk_and_first_convolution():
    for variant, alike in (("I", {"project"}), ("II", {"project", "vlad", "top"})):
        config = tiny(variant=variant)
        model = page.build(config)
        batch = example_batch(page.views(config), torch.device("cpu"))
        used = []
        for side in ("ground", "aerial"):
            model.zero_grad(set_to_none=True)
            getattr(model, side)(getattr(batch, side)).sum().backward()
            used.append({n for n, p in model.named_parameters() if p.grad is not None})
        both = {name.split(".")[0] for name in used[0] & used[1]}
        assert both == alike
        assert not {name for name in used[0] & used[1] if name.startswith("top.own")}


def test_the_convolutions_of_variant_ii_are_linear_unless_rectified():
    maps = torch.randn(2, 4, 5, 6)
    top = page.Convolutions(4, rectified=False)
    bias = top(torch.zeros_like(maps), "ground")
    torch.testing.assert_close(
        top(-2.0 * maps, "ground") - bias, -2.0 * (top(maps, "ground") - bias)
    )
    assert page.Convolutions(4, rectified=True)(maps, "ground").min() >= 0.0


@pytest.mark.parametrize("nearest", [0, 1, 2])
def test_both_phases_of_the_loss_are_those_of_a_sorted_loop(nearest):
    torch.manual_seed(4)
    sides = [functional.normalize(torch.randn(5, 8).double(), dim=1) for _ in range(2)]
    vectors = dict(zip(("ground", "aerial"), sides, strict=True))
    d = [[float(2 - 2 * g @ a) for a in sides[1]] for g in sides[0]]
    terms = []
    for i in range(5):
        for wrong in ([d[i][j] for j in range(5) if j != i], [d[j][i] for j in range(5) if j != i]):
            hardest = sorted(wrong)[: nearest or len(wrong)]
            terms += [math.log(1 + math.exp(10 * (d[i][i] - w))) for w in hardest]
    loss = page.contrast(None, vectors, tiny(nearest=nearest))["triplet"]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)

    def lose(ground, aerial):
        return page.contrast(None, {"ground": ground, "aerial": aerial}, tiny(nearest=nearest))[
            "triplet"
        ]

    assert torch.autograd.gradcheck(lose, [side.requires_grad_() for side in sides])


def count(**settings):
    config = page.Config(weights="none", **settings)
    with torch.device("meta"):
        model = page.build(config)
    return count_cost(model, page.views(config)), model


def test_variant_i_has_the_published_size_layer_by_layer():
    """163.8 M parameters; the 164.6 G multiply-adds of the released code are those of VGG16."""
    costs, model = count()
    sizes = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    vgg = sum(9 * i * o + o for i, o in zip(INPUTS, OUTPUTS, strict=True))
    assert sizes == {
        "ground_trunk": vgg,
        "aerial_trunk": vgg,
        "vlad": 2 * (2 * 64 * 512 + 2 * 64),  # linear map, centres, norm
        "project": 4096 * (64 * 512 + 1),
    }
    assert costs.parameters == sum(sizes.values()) == 163_782_528
    assert costs.parameters / 1e6 == pytest.approx(163.8, abs=0.05)
    positions = 14 * 77 + 32 * 32
    heads = 2 * 64 * 512 * positions + 2 * 4096 * 64 * 512
    assert (costs.macs - heads) / 1e9 == pytest.approx(164.6, abs=0.05)


OUTPUTS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
INPUTS = (3, *OUTPUTS[:-1])


def test_variant_ii_has_three_convolutions_more_and_one_netvlad_less():
    costs, _ = count(variant="II")
    one, three = 512 * 512 + 512, 9 * 512 * 512 + 512
    more = 2 * one + three + one - (2 * 64 * 512 + 2 * 64)
    assert costs.parameters == 163_782_528 + more


def test_the_first_three_blocks_of_a_pretrained_trunk_stay():
    _, model = count()
    names = [name for name, _ in model.named_parameters()]
    kept = {name for name in names if page.rate(name, page.Config()) == 0.0}
    layers = {int(name.split(".layer")[1].split(".")[0]) for name in kept}
    assert layers == {0, 2, 5, 7, 10, 12, 14}  # the seven convolutions of blocks 1 to 3
    assert len(kept) == 2 * 7 * 2
    for config in (page.Config(weights="none"), page.Config(frozen=False)):
        assert {page.rate(name, config) for name in names} == {1.0}


def test_the_trunk_ends_with_conv5_3_at_a_sixteenth_of_the_picture():
    _, model = count()
    for side, size, expected in (
        ("ground", (224, 1232), (14, 77)),
        ("aerial", (512, 512), (32, 32)),
    ):
        maps = model.get_submodule(f"{side}_trunk")(torch.empty(1, 3, *size, device="meta"))
        assert tuple(maps.shape) == (1, 512, *expected)
    last = list(model.ground_trunk.stages)[-2:]
    assert [type(layer).__name__ for layer in last] == ["ReLU", "Dropout"]
    assert last[1].p == pytest.approx(0.2)


def striped(side):
    """A window whose columns and rows can be told from their colours."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, :, 0] = np.arange(side)[None]
    pixels[:, :, 1] = np.arange(side)[:, None]
    return pixels


@pytest.mark.parametrize("whole", [True, False])
def test_windows_are_turned_and_cropped_and_panoramas_are_not(whole):
    side = 64
    config = tiny(whole=whole, aerial_px=(side, side), footprint_m=float(side))
    pair = PairPixels(
        ground=np.zeros((32, 64, 3), np.uint8),
        aerial=striped(side),
        metres_per_px=1.0,
        heading_deg=10.0,
    )
    quarters, spans = [], []
    for seed in range(200):
        seen = page.augment(pair, config, np.random.default_rng(seed))
        assert seen.ground is pair.ground
        turned = round((pair.heading_deg - seen.heading_deg) / 90.0) % 4
        upright = np.rot90(seen.aerial, -turned)
        assert int(upright[0, -1, 0]) > int(upright[0, 0, 0])  # east is right again
        assert int(upright[-1, 0, 1]) > int(upright[0, 0, 1])
        quarters.append(turned)
        spans.append(int(upright[0, -1, 0]) - int(upright[0, 0, 0]))
    counts = np.bincount(quarters, minlength=4) / 200
    assert abs(counts - 0.25).max() < 0.1
    cropped = [span for span in spans if span < side - 1]
    assert len(cropped) / 200 == pytest.approx(1.0 - config.crop, abs=0.1)
    assert min(spans) >= config.crop * side - 3


def test_a_turned_window_shows_the_panoramas_middle_at_its_new_heading():
    """Turned counter-clockwise by one quarter, east is up: north, ahead, is 90 degrees left."""
    config = tiny(turn=1.0, crop=1.0, whole=True)
    pair = PairPixels(
        ground=np.zeros((32, 64, 3), np.uint8),
        aerial=striped(32),
        metres_per_px=1.0,
        heading_deg=0.0,
    )
    for seed in range(8):
        seen = page.augment(pair, config, np.random.default_rng(seed))
        quarters = round(-seen.heading_deg / 90.0)
        assert quarters in (1, 2, 3)
        np.testing.assert_array_equal(seen.aerial, np.rot90(pair.aerial, quarters))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"variant": "III"}, "variant must be I or II, got 'III'"),
        ({"centres": "best"}, "centres must be random or clustered"),
        ({"clusters": 0}, "clusters must be at least 1"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"nearest": -1}, "nearest must be at least 0"),
        ({"crop": 0.0}, "crop is a share"),
        ({"turn": 1.5}, "turn is a probability"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(InvalidValue, match=said):
        replace(page.Config(), **settings)
