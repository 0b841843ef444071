"""HER against slow loops: weights, losses, attention, and what is drawn of a window."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, normalize

from crossview.errors import InvalidValue
from crossview.methods import her
from crossview.pairs.batch import TrainingLength, TrainingProgress
from crossview.training.contract import TrainingRecipe, example_batch, example_pair
from crossview.training.cost import count_cost

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (64, 64),
    "context": 16,
    "dim": 64,
    "batch": 4,
}
RELEASE = {
    "backbone": "resnet18.tv_in1k",
    "reduction": 16,
    "context": 128,
    "dim": 1024,
    "ground_px": (224, 1232),
    "aerial_px": (512, 512),
    "whole": True,
    "turned": True,
    "scale": 5.0,
    "margin": 0.15,
    "easy": 0.1,
    "triplet": 1.0,
    "turn": 0.5,
    "raised": 5.0,
    "raised_epochs": 50.0,
    "batch": 48,
    "epochs": 100.0,
    "optimiser": "sgd",
    "momentum": 0.9,
    "lr": 5e-5,
    "schedule": "polynomial",
    "weight_decay": 5e-4,
    "decay_vectors": True,
}
RELEASES = {"cvusa": RELEASE, "cvusa-34": RELEASE | {"backbone": "resnet34.tv_in1k"}}


def tiny(**settings):
    return her.Config(**(TINY | settings))


def draw_vectors(count=5, seed=0):
    """Unit vectors [count, 3] of both views, in float64, so near that there are weights between."""
    draw = torch.Generator().manual_seed(seed)
    ground = 1.0 + 0.25 * torch.randn(count, 3, generator=draw, dtype=torch.float64)
    aerial = ground + 0.25 * torch.randn(count, 3, generator=draw, dtype=torch.float64)
    return normalize(ground, dim=1), normalize(aerial, dim=1)


def weigh_slowly(ground, aerial, config):
    """The released rule, number by number: w(delta) within its bounds, 0 on the diagonal."""
    n, margin = len(ground), config.margin * config.scale**2
    beta = margin / 2
    low, high = math.log2(1 + math.exp(-margin + beta)), math.log2(1 + math.exp(beta))
    weights, deltas = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for i in range(n):
        for j in range(n):
            true, wrong = (
                config.scale**2 * float((ground[i] - other).square().sum())
                for other in (aerial[i], aerial[j])
            )
            delta = true - wrong
            weight = math.log2(1 + math.exp(delta + beta))
            if weight < low:
                weight = config.easy / n
            deltas[i, j], weights[i, j] = delta, min(weight, high) if i != j else 0.0
    return weights, deltas


@pytest.mark.parametrize("seed", range(3))
def test_weights_and_losses_are_those_of_single_triplets(seed):
    config = tiny(turn=0.5, triplet=1.5)
    ground, aerial = draw_vectors(6, seed)
    weights, deltas = weigh_slowly(ground, aerial, config)
    assert len({round(w, 9) for w in weights.flatten().tolist()}) > 12  # easy, hard, and between
    assert {round(config.easy / 6, 9), round(math.log2(1 + math.exp(3.75 / 2)), 9)} < {
        round(w, 9) for w in weights.flatten().tolist()
    }
    found, difference = her.weigh_triplets(5.0 * ground, 5.0 * aerial, config)
    torch.testing.assert_close(found, weights)
    torch.testing.assert_close(difference, deltas, rtol=0, atol=1e-12)
    model = type("Model", (), {"turn": staticmethod(lambda one, two: one[:, :2] - two[:, :2])})
    heading_deg = torch.tensor([0.0, -90.0, -180.0, -270.0, 30.0, math.nan]).double()
    vectors = {"ground": ground, "aerial": aerial, "heading_deg": heading_deg}
    losses = her.contrast(model, vectors, config)
    triplet = turn = 0.0
    for i in range(6):
        told = 5.0 * (ground[i, :2] - aerial[i, :2])
        turned = math.radians(-float(heading_deg[i]))
        truth = torch.tensor([math.sin(turned), math.cos(turned)]) if i < 5 else told
        error = float((told - truth).square().sum())
        for j in range(6):
            triplet += float(weights[i, j]) * math.log(1 + math.exp(float(deltas[i, j])))
            turn += float(weights[i, j]) * error
    assert float(losses["triplet"]) == pytest.approx(1.5 * triplet / 36, rel=1e-9)
    assert float(losses["turn"]) == pytest.approx(0.5 * turn / 36, rel=1e-6)


@pytest.mark.parametrize("through", [True, False])
def test_losses_have_the_gradient_of_their_differences_or_that_of_fixed_weights(through):
    config = tiny(through=through)
    ground, aerial = (v.requires_grad_() for v in draw_vectors(5, 1))
    torch.manual_seed(0)
    model = her.TurnHead(3).double()
    heading_deg = torch.tensor([0.0, -90.0, -180.0, -270.0, 0.0]).double()
    wrapped = type("Model", (), {"turn": model})

    def total(one, two):
        vectors = {"ground": one, "aerial": two, "heading_deg": heading_deg}
        return sum(her.contrast(wrapped, vectors, config).values())

    if through:
        assert torch.autograd.gradcheck(total, (ground, aerial))
        return
    fixed = her.weigh_triplets(5.0 * ground, 5.0 * aerial, config)[0].detach()
    difference = her.weigh_triplets(5.0 * ground, 5.0 * aerial, config)[1]
    error = her.measure_turn_error(model(5.0 * ground, 5.0 * aerial), heading_deg)
    expected = (fixed * torch.nn.functional.softplus(difference)).mean()
    expected = expected + 0.5 * (fixed * error[:, None]).mean()
    ours, theirs = (
        torch.autograd.grad(value, (ground, aerial)) for value in (total(ground, aerial), expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_hard_triplet_weighs_more_than_an_easy_one_and_none_more_than_one_of_equal_distances():
    config = tiny()
    ground = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    near = normalize(torch.tensor([[1.0, 0.1], [0.0, 1.0]]), dim=1)
    (easy, _) = her.weigh_triplets(5.0 * ground, 5.0 * near, config)
    (hard, _) = her.weigh_triplets(5.0 * ground, 5.0 * near.flip(0), config)
    assert float(easy[0, 1]) == pytest.approx(0.1 / 2)
    assert float(hard[0, 1]) == pytest.approx(math.log2(1 + math.exp(3.75 / 2)))


@pytest.mark.parametrize("peak", [False, True])
def test_attention_weighs_channels_and_then_positions(peak):
    torch.manual_seed(0)
    module, maps = her.FeatureAttention(32, 16, peak=peak), torch.randn(2, 32, 4, 5)
    expected = torch.zeros_like(maps)
    down, up = module.down.weight[:, :, 0, 0], module.up.weight[:, :, 0, 0]
    for n, picture in enumerate(maps):
        pooled = [picture.mean(dim=(1, 2)), picture.amax(dim=(1, 2)) if peak else None]
        pooled[1] = pooled[0] if pooled[1] is None else pooled[1]
        logits = sum(up @ torch.relu(down @ values) for values in pooled)
        weighted = picture * torch.sigmoid(logits)[:, None, None]
        seen = torch.stack([weighted.mean(dim=0), weighted.amax(dim=0)])[None]
        local = [
            torch.relu(conv2d(seen, conv.weight, conv.bias, padding=k // 2))[0, 0]
            for conv, k in zip(module.local, (3, 5, 7), strict=True)
        ]
        weights = module.mix.weight.flatten()
        mixed = sum(w * one for w, one in zip(weights, local, strict=True)) + module.mix.bias
        expected[n] = weighted * torch.sigmoid(mixed)
    torch.testing.assert_close(module(maps), expected)


def test_every_block_asks_its_attention_before_it_adds_its_input():
    torch.manual_seed(1)
    network = her.build(tiny()).eval()
    block, maps = network.ground.trunk.layer1[0], torch.randn(1, 32, 8, 8)
    inner = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(maps)))))
    torch.testing.assert_close(block(maps), torch.relu(block.se(inner) + maps))
    blocks = [m for m in network.ground.trunk.modules() if isinstance(m, her.FeatureAttention)]
    assert len(blocks) == 4  # one in each block of the tiny network


def test_the_networks_have_the_shapes_and_sizes_that_the_code_says():
    """Maps of 7 x 39 and 16 x 16, pooled to 4 x 20 and 8 x 8; no sizes were published."""
    for backbone, millions in (("resnet18", 108.91), ("resnet34", 129.27)):
        config = her.Config(weights="none", backbone=backbone)
        with torch.device("meta"):
            network = her.build(config)
        assert network.ground.project.in_features == 512 * 4 * 20
        assert network.aerial.project.in_features == 512 * 8 * 8
        cost = count_cost(network, her.views(config))
        assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_head_reads_both_vectors_rectified():
    torch.manual_seed(2)
    head, (one, two) = her.TurnHead(3), torch.randn(2, 4, 3)
    both = torch.relu(torch.cat([one, two], dim=1))
    hidden = torch.relu(both @ head.inner.weight.T + head.inner.bias)
    torch.testing.assert_close(head(one, two), hidden @ head.outer.weight.T + head.outer.bias)


def test_a_window_is_turned_by_quarters_and_seen_closer_and_the_panorama_is_neither():
    config = tiny()
    views = her.views(config)
    pair = replace(example_pair(views), aerial=np.zeros((80, 80, 3), np.uint8))
    pair.aerial[:40] = 255  # north is white
    pair = replace(pair, metres_per_px=config.footprint_m / 80)
    seen = set()
    for seed in range(40):
        drawn = her.augment(pair, config, np.random.default_rng(seed))
        assert drawn.ground is pair.ground
        quarters = round(-drawn.heading_deg / 90)
        if not drawn.viewed:
            assert quarters == 0
            seen.add(0)
            continue
        assert drawn.aerial.shape == (64, 64, 3)
        bright = drawn.aerial[..., 0].astype(float)
        halves = [bright[:32], bright[:, :32], bright[32:], bright[:, 32:]]  # N, W, S, E
        assert int(np.argmax([half.mean() for half in halves])) == quarters
        seen.add(quarters)
    assert seen == {0, 1, 2, 3}
    still = her.augment(pair, tiny(turned=False, crop=1.0), np.random.default_rng(0))
    assert still is pair


def test_one_window_in_three_is_cropped_and_none_below_what_the_code_crops():
    config, shares = tiny(turned=False), []
    pair = replace(example_pair(her.views(config)), metres_per_px=1.0)
    wide = replace(
        pair, aerial=np.arange(256, dtype=np.uint8)[None, :, None] + np.zeros((256, 1, 3), np.uint8)
    )
    wide = replace(wide, metres_per_px=config.footprint_m / 256)
    for seed in range(300):
        drawn = her.augment(wide, config, np.random.default_rng(seed))
        ends = drawn.aerial[0, [0, -1], 0].astype(float)
        shares.append(float(ends[1] - ends[0]) / 255 if drawn.viewed else 1.0)
    assert 0.25 < np.mean([share < 0.999 for share in shares]) < 0.39
    assert min(shares) > 0.66


def test_both_losses_weigh_five_times_as_much_after_fifty_epochs():
    config, span = her.Config(), TrainingLength(epochs=100, batches=10)
    rng = np.random.default_rng(0)
    for epoch, times in ((0, 1.0), (49, 1.0), (50, 5.0), (99, 5.0)):
        now = her.staged(config, TrainingProgress(span=span, epoch=epoch), rng)
        assert (now.triplet, now.turn) == (times, 0.5 * times)


def test_the_rate_falls_by_a_hundredth_of_it_every_epoch():
    recipe = TrainingRecipe.of(her.Config())
    assert [recipe.lr_at(740 * epoch, 35_532) for epoch in (0, 1, 99)] == pytest.approx(
        [5e-5, 4.95e-5, 5e-7]
    )


def test_a_pair_of_unknown_heading_teaches_no_turn_and_finite_losses():
    config = tiny()
    torch.manual_seed(3)
    model = her.build(config)
    batch = example_batch(her.views(config), torch.device("cpu"))
    blind = replace(batch, heading_deg=torch.full((4,), math.nan))
    losses = her.objective(model, blind, config)
    assert float(losses["turn"].detach()) == 0.0
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert set(her.objective(model, batch, tiny(turn=0.0))) == {"triplet"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"scale": 0.0}, "scale must be above 0, got 0.0"),
        ({"turn": -1.0}, "turn must be at least 0, got -1.0"),
        ({"crop": 0.0}, r"crop is a share in \(0, 1\], got 0.0"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(InvalidValue, match=said):
        tiny(**wrong)


def test_networks_and_pictures_that_do_not_fit_are_refused_by_name():
    with pytest.raises(InvalidValue, match="test_convnext has none"):
        her.build(tiny(backbone="test_convnext"))
    with pytest.raises(InvalidValue, match="takes pictures of 64 x 64 pixels, got 32 x 32"):
        her.build(tiny()).aerial(torch.rand(1, 3, 32, 32))
