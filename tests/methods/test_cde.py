"""CDE against loops, and its game against a step written out with three optimisers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from tests.tiny_pairs import write_pairs
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from crossview.catalogue import open_data
from crossview.errors import InvalidValue
from crossview.explain.masks import ExplainedRun, draw_pictures
from crossview.methods import cde as page
from crossview.pairs.batch import PairPixels, TrainingLength, TrainingProgress, to_batch
from crossview.pairs.loading import Loader, make_plain_reader
from crossview.pairs.page_ref import PageRef
from crossview.training.contract import example_batch, example_table, find_players
from crossview.training.loop import epoch_order, train_steps
from crossview.training.session import Request, fit, prepare, start_state
from crossview.views.aerial import make_aerial_view

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "widths": (4, 8, 8, 192),
    "blocks": 1,
    "judge": 4,
    "ground_px": (32, 64),
    "aerial_px": (32, 64),
    "footprint_m": 60.0,
    "batch": 4,
}
LEARNING = {"steps": 40}
CDE = {
    "backbone": "resnet34.tv_in1k",
    "widths": (32, 64, 128, 256),
    "blocks": 6,
    "judge": 64,
    "ground_px": (112, 616),
    "aerial_px": (112, 616),
    "whole": True,
    "masks": 8,
    "reduce": "max",
    "alpha": 10.0,
    "hard_shares": (1.0, 0.1, 0.05, 0.01),
    "hard_until": (20, 40, 60),
    "negatives_from_m": 0.0,
    "real": 0.9,
    "reconstruction": 100.0,
    "retrieval": 1000.0,
    "mirror": 0.5,
    "batch": 32,
    "epochs": 200.0,
    "lr": 1e-4,
    "beta1": 0.5,
    "weight_decay": 0.0,
}
RELEASES = {"cvusa": CDE, "cvact": CDE | {"negatives_from_m": 25.0}}


@pytest.fixture(scope="module")
def built():
    """(config, network), tiny, and a batch of noise."""
    torch.manual_seed(0)
    config = page.Config(**TINY)
    return config, page.build(config), example_batch(page.views(config), torch.device("cpu"))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def conv(inputs, outputs, size, bias=1):
    return outputs * (inputs * size * size + bias)


def test_the_sizes_are_those_of_the_released_networks_added_up_layer_by_layer():
    with torch.device("meta"):
        model = page.build(page.Config(weights="none"))
    halves = [(32, 64), (64, 128), (128, 256)]
    down = sum(conv(i, o, 3) + conv(o, o, 3) + conv(i, o, 1) + 2 * o for i, o in halves)
    middle = 6 * (2 * conv(256, 256, 3) + 4 * 256)
    encoder = conv(3, 32, 7) + 2 * 32 + down + middle
    doubled = [(512, 128), (256, 64), (128, 64)]
    up = sum(2 * i + 2 * o + conv(i, o, 3) + conv(o, o, 3) + conv(i, o, 1) + 2 * o
             for i, o in doubled)  # fmt: skip

    def attention(width):
        thin, half = width // 8, width // 2
        return 2 * conv(width, thin, 1, 0) + conv(width, half, 1, 0) + conv(half, width, 1, 0) + 1

    decoder = up + attention(256) + conv(64, 3, 3)
    patches = [(6, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    judge = sum(conv(i, o, 4) for i, o in patches) + attention(128)
    positions = 14 * 77
    masks = 8 * (2 * positions * (positions // 2) + positions + positions // 2)
    assert count(model.aerial.trunk) == encoder == 8_298_368
    assert count(model.decoder) == decoder == 1_209_540
    assert count(model.discriminator) == judge == 2_788_290
    assert count(model.ground.generator) == count(model.aerial.generator) == masks
    assert count(model.ground.trunk) == 8_170_304  # ResNet-34 to the end of layer3


def test_what_is_compared_are_the_features_in_the_generators_middle(built):
    config, model, batch = built
    model.eval()
    with torch.no_grad():
        drawn, features = model.draw(batch.aerial)
        vectors = model.aerial(batch.aerial)
        masks = model.aerial.generator(features.flatten(2))
    assert drawn.shape == batch.ground.shape
    assert features.shape == (4, 192, 4, 8)
    slow = torch.stack(
        [
            functional.normalize((f.flatten(1) @ m).flatten(), dim=0)
            for f, m in zip(features, masks, strict=True)
        ]
    )
    torch.testing.assert_close(vectors, slow, rtol=1e-4, atol=1e-6)
    assert vectors.shape == (4, 192 * config.masks)


def test_retrieval_needs_neither_the_decoder_nor_the_discriminator(built):
    config, _, batch = built
    torch.manual_seed(0)
    other = page.build(config).eval()
    with torch.no_grad():
        for part in (other.decoder, other.discriminator):
            for parameter in part.parameters():
                parameter.fill_(math.nan)
        torch.manual_seed(0)
        fresh = page.build(config).eval()
        torch.testing.assert_close(other.aerial(batch.aerial), fresh.aerial(batch.aerial))
        torch.testing.assert_close(other.ground(batch.ground), fresh.ground(batch.ground))


def settled(inputs=3, outputs=5):
    torch.manual_seed(3)
    made = page.SpectralConv(inputs, outputs, 3, reflects=True).double()
    with torch.no_grad():
        made.weight.mul_(50.0)
        for _ in range(300):
            made(torch.zeros(1, inputs, 6, 6, dtype=torch.float64))
    return made


def test_a_spectral_convolution_has_weights_of_largest_singular_value_one():
    made = settled()
    value = torch.linalg.svdvals(made.weight.flatten(1))[0]
    pixels = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    padded = functional.pad(pixels, (1, 1, 1, 1), mode="reflect")
    slow = functional.conv2d(padded, made.weight / value, made.bias)
    torch.testing.assert_close(made(pixels), slow)


def test_a_spectral_convolution_learns_as_pytorchs():
    ours = settled()
    theirs = torch.nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect").double()
    theirs.load_state_dict({"weight": ours.weight, "bias": ours.bias})
    theirs = spectral_norm(theirs, n_power_iterations=200)
    pixels = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    losses = [made(pixels).square().sum() for made in (ours, theirs)]
    own = torch.autograd.grad(losses[0], ours.weight)[0]
    other = torch.autograd.grad(losses[1], theirs.parametrizations.weight.original)[0]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(own, other)


def test_the_gradient_of_a_spectral_convolution_is_that_of_differences():
    made = settled(2, 3).eval()
    pixels = torch.randn(1, 2, 4, 5, dtype=torch.float64)

    def run(weight):
        return torch.func.functional_call(made, {"weight": weight}, (pixels,))

    weight = made.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (weight,), atol=1e-6)


def test_in_training_power_iteration_goes_on_and_in_use_it_does_not():
    torch.manual_seed(4)
    made = page.SpectralConv(4, 6, 3)
    torch.nn.init.normal_(made.weight)
    before, pixels = made.left.clone(), torch.zeros(1, 4, 5, 5)
    made.eval()(pixels)
    assert torch.equal(made.left, before)
    made.train()(pixels)
    assert not torch.equal(made.left, before)


def test_attention_is_a_weighted_sum_written_out():
    torch.manual_seed(5)
    made = page.Attention(8).double().eval()
    with torch.no_grad():
        made.gain.fill_(0.7)
    maps = torch.randn(1, 8, 4, 6, dtype=torch.float64)
    query = made.query(maps)[0].flatten(1)
    key, value = (functional.max_pool2d(p(maps), 2)[0].flatten(1) for p in (made.key, made.value))
    taken = torch.zeros(4, 24, dtype=torch.float64)
    for place in range(24):
        told = [math.exp(float(query[:, place] @ key[:, other])) for other in range(6)]
        for other in range(6):
            taken[:, place] += told[other] / sum(told) * value[:, other]
    slow = maps + 0.7 * made.out(taken.view(1, 4, 4, 6))
    torch.testing.assert_close(made(maps), slow)


def test_the_discriminators_loss_is_the_sum_over_patches_written_out():
    logits = torch.tensor([[0.3, -2.0], [5.0, 0.0]], dtype=torch.float64)
    for label in (0.9, 0.0):
        total = 0.0
        for logit in logits.flatten().tolist():
            share = 1.0 / (1.0 + math.exp(-logit))
            total -= label * math.log(share) + (1.0 - label) * math.log(1.0 - share)
        assert page.cross_entropy(logits, label).item() == pytest.approx(total / 4)
    free = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: page.cross_entropy(values, 0.9), (free,))


def unit(count_of=6, dim=5):
    values = torch.randn(count_of, dim, dtype=torch.float64)
    return functional.normalize(values + 0.5, dim=1)


def cost_of(ground, aerial, alpha, anchor, i, j):
    """The cost of one triplet: place i, and j that is wrong."""
    true = 2.0 - 2.0 * float(aerial[i] @ ground[i])
    pair = (aerial[i], ground[j]) if anchor == "aerial" else (aerial[j], ground[i])
    wrong = 2.0 - 2.0 * float(pair[0] @ pair[1])
    return math.log(1.0 + math.exp(alpha * (true - wrong)))


def list_costs(ground, aerial, alpha, anchor):
    """The cost of every triplet of one direction, hardest first."""
    others = [(i, j) for i in range(len(ground)) for j in range(len(ground)) if i != j]
    costs = [cost_of(ground, aerial, alpha, anchor, i, j) for i, j in others]
    return sorted(costs, reverse=True)


@pytest.mark.parametrize(("share", "counted"), [(1.0, 30), (0.1, 3), (0.05, 1), (0.01, 1)])
def test_the_hardest_share_of_all_triplets_counts(share, counted):
    torch.manual_seed(6)
    ground, aerial = unit(), unit()
    means = [
        sum(list_costs(ground, aerial, 10.0, anchor)[:counted]) / counted
        for anchor in ("aerial", "ground")
    ]
    ours = page.hardest_triplets(ground, aerial, 10.0, share)
    assert ours.item() == pytest.approx(sum(means) / 2)


def test_near_places_take_no_part_and_no_places():
    torch.manual_seed(8)
    ground, aerial = unit(), unit()
    wrong = torch.rand(6, 6) < 0.7
    wrong = wrong & wrong.T
    kept = [(i, j) for i in range(6) for j in range(6) if i != j and wrong[i, j]]
    means = []
    for anchor in ("aerial", "ground"):
        own = [cost_of(ground, aerial, 10.0, anchor, i, j) for i, j in kept]
        means.append(sum(sorted(own, reverse=True)[:3]) / 3)
    ours = page.hardest_triplets(ground, aerial, 10.0, 0.1, wrong)
    assert ours.item() == pytest.approx(sum(means) / 2)
    none = page.hardest_triplets(ground.requires_grad_(), aerial, 10.0, 0.1, wrong & False)
    none.backward()
    assert none.item() == 0.0


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_the_gradients_of_the_triplets_are_those_of_differences(share):
    torch.manual_seed(7)
    sides = [unit().requires_grad_() for _ in range(2)]
    assert torch.autograd.gradcheck(lambda g, a: page.hardest_triplets(g, a, 10.0, share), sides)


def test_the_share_of_triplets_falls_after_the_authors_epochs():
    config, rng = page.Config(), np.random.default_rng(0)
    span = TrainingLength(epochs=200, batches=10)

    def share(epoch):
        moment = TrainingProgress(span=span, epoch=epoch)
        return page.staged(config, moment, rng).hard_shares[0]

    expected = {0: 1.0, 20: 1.0, 21: 0.1, 40: 0.1, 41: 0.05, 60: 0.05, 61: 0.01, 199: 0.01}
    assert {epoch: share(epoch) for epoch in expected} == expected


def test_every_turns_losses_are_written_out(built):
    config, model, batch = built
    model.eval()  # power iteration stands still
    turns = dict(page.play(model, batch, config))
    with torch.no_grad():
        drawn, features = model.draw(batch.aerial)
        said = [model.discriminator(torch.cat([batch.aerial, street], 1)).sigmoid()
                for street in (batch.ground, drawn)]  # fmt: skip
        ground = model.ground(batch.ground)
        aerial = model.aerial.describe(features).vector
    real, false = said
    told = -(0.9 * real.log() + 0.1 * (1 - real).log()).mean() - (1 - false).log().mean()
    costs = [list_costs(ground.double(), aerial.double(), 10.0, a) for a in ("aerial", "ground")]
    triplet = sum(sum(one) / len(one) for one in costs) / 2
    apart = sum(float((d - g).abs().mean()) for d, g in zip(drawn, batch.ground, strict=True)) / 4
    expected = {
        "discriminator": {"discriminator": told.item() / 2},
        "retrieval": {"triplet": triplet},
        "generator": {
            "generator": -(0.9 * false.log() + 0.1 * (1 - false).log()).mean().item(),
            "reconstruction": 100.0 * apart,
            "retrieval": 1000.0 * triplet,
        },
    }
    for name, losses in expected.items():
        ours = {key: value.item() for key, value in turns[name].items()}
        assert ours == pytest.approx(losses, rel=1e-4), name
    model.train()


def test_no_turn_reaches_backwards_into_the_generator_but_its_own(built):
    config, model, batch = built
    players = find_players(model, page, config)
    assert list(players) == ["retrieval", "generator", "discriminator"]
    assert sum(map(len, players.values())) == len(list(model.parameters()))
    reached = {}
    for name, losses in page.play(model, batch, config):
        total = torch.stack(list(losses.values())).sum()
        for other, weights in players.items():
            grads = torch.autograd.grad(total, weights, allow_unused=True, retain_graph=True)
            reached[name, other] = sum(g is not None for g in grads)
    assert reached["discriminator", "generator"] == reached["retrieval", "generator"] == 0
    assert reached["discriminator", "retrieval"] == reached["retrieval", "discriminator"] == 0
    assert [reached[name, name] for name in players] == list(map(len, players.values()))


def asked(folder, out="run", **settings):
    csv = folder / "data" / "pairs.csv"
    if not csv.is_file():
        write_pairs(csv.parent, 16)
    data = open_data(f"pairs:{csv}")
    config = page.Config(**{**TINY, "steps": 3, "amp": False, **settings})
    return Request(
        method="cde", page=PageRef(page.__name__), config=config, data=data.name,
        tables=data.tables, info=data.info, out=folder / out, device="cpu", workers=0,
        val_share=0.0, save_every=2,
    )  # fmt: skip


def step_by_hand(model, batch, config, optimisers, share):
    """The released order, written out: every player alone may learn while it is its turn."""
    parts = {
        "D": model.discriminator,
        "R": torch.nn.ModuleList([model.ground, model.aerial.generator]),
        "G": torch.nn.ModuleList([model.aerial.trunk, model.decoder]),
    }
    bce = functional.binary_cross_entropy_with_logits

    def judge(street, label):
        logits = model.discriminator(torch.cat([batch.aerial, street], 1))
        return bce(logits, torch.full_like(logits, label))

    def match(features):
        street = model.ground(batch.ground)
        above = model.aerial.describe(features).vector
        return page.hardest_triplets(street, above, config.alpha, share)

    street, features = model.draw(batch.aerial)

    def turn(name, loss):
        optimisers[name].zero_grad()
        for other, part in parts.items():
            part.requires_grad_(other == name)
        loss().backward()
        optimisers[name].step()

    turn("D", lambda: 0.5 * (judge(street.detach(), 0.0) + judge(batch.ground, config.real)))
    turn("R", lambda: match(features.detach()))
    l1 = functional.l1_loss
    turn("G", lambda: judge(street, config.real) + config.reconstruction * l1(street, batch.ground)
         + config.retrieval * match(features))  # fmt: skip
    model.requires_grad_(True)


def test_training_is_the_released_order_with_three_optimisers(tmp_path):
    """Weights of losses alike, and a large eps: no player's moves are noise or drown another's."""
    alike = {"lr": 1e-3, "reconstruction": 1.0, "retrieval": 1.0, "mirror": 0.0}
    session = prepare(asked(tmp_path, hard_shares=(1.0, 0.5), hard_until=(0,), steps=6, **alike))
    recipe = replace(session.job.recipe, eps=1e-2)
    session = replace(session, job=replace(session.job, recipe=recipe))
    job, state, model = session.job, start_state(session), start_state(session).model.train()
    generator = [*model.aerial.trunk.parameters(), *model.decoder.parameters()]
    retrieval = [*model.ground.parameters(), *model.aerial.generator.parameters()]
    parts = {"D": list(model.discriminator.parameters()), "R": retrieval, "G": generator}
    optimisers = {
        name: torch.optim.Adam(own, betas=(0.5, 0.999), eps=1e-2) for name, own in parts.items()
    }
    with Loader(session.reader, 0) as loader:
        reports = list(islice(train_steps(state, job, loader), 5))
        raws = [r for e in (0, 1) for r in loader.epoch(e, epoch_order(job, e, None))]
    for step, raw in enumerate(raws[:5]):
        for optimiser in optimisers.values():
            optimiser.param_groups[0]["lr"] = job.recipe.lr_at(step, len(job.table))
        batch = to_batch(raw, job.views, job.device)
        step_by_hand(model, batch, job.config, optimisers, 1.0 if step < 4 else 0.5)
    assert reports[4].epoch == 1
    before = start_state(session).model.state_dict()
    for name, ours in state.model.state_dict().items():
        if ours.is_floating_point() and not name.endswith(".bias"):  # some have no true gradient
            difference = (ours - model.state_dict()[name]).abs().max().item()
            assert difference <= 0.01 * (ours - before[name]).abs().max().item() + 1e-6, name


def test_a_training_that_is_killed_goes_on_bit_for_bit(tmp_path):
    def train(request, stop=None):
        session = prepare(request)
        list(islice(fit(session, start_state(session)), stop))
        return session.folder

    whole = train(asked(tmp_path, "whole"))
    train(asked(tmp_path, "left"), 3)
    left = train(asked(tmp_path, "left"))
    for name in ("weights", "state"):
        assert getattr(left, name).read_bytes() == getattr(whole, name).read_bytes()


def test_mirrored_pairs_stay_aligned_once_they_are_unrolled():
    config = page.Config(**{**TINY, "mirror": 1.0})
    spec = page.views(config).aerial
    rng = np.random.default_rng(0)
    blurred = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    ground = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    pair = PairPixels(ground=ground, aerial=blurred, metres_per_px=60 / 128, heading_deg=1.0)
    mirrored = page.augment(pair, config, rng)
    before, after = (make_aerial_view(p.aerial, p.metres_per_px, spec) for p in (pair, mirrored))
    assert np.array_equal(mirrored.ground, ground[:, ::-1])
    assert np.abs(after.astype(int) - before[:, ::-1]).mean() < 1.0
    assert mirrored.heading_deg == -1.0
    assert page.augment(pair, replace(config, mirror=0.0), rng) is pair


def test_the_drawn_street_view_is_shown_between_both_views(built, tmp_path):
    config, model, batch = built
    (name,), (drawn,) = zip(*page.pictures(model, batch, config).items(), strict=True)
    assert name == "drawn from above"
    assert drawn.shape == batch.ground.shape
    assert 0.0 <= float(drawn.min()) < float(drawn.max()) <= 1.0
    csv = write_pairs(tmp_path / "data", 4)
    table = open_data(f"pairs:{csv}").tables["train"]
    reader = make_plain_reader(table, page.views(config))
    run = ExplainedRun(name="a", model=model, reader=reader, page=page, config=config)
    assert draw_pictures(tmp_path / "one.png", [run], 0)
    assert draw_pictures(tmp_path / "two.png", [run, replace(run, name="b")], 0)
    assert (tmp_path / "two.png").stat().st_size > (tmp_path / "one.png").stat().st_size
    assert not draw_pictures(tmp_path / "none.png", [replace(run, page=object())], 0)
    assert not (tmp_path / "none.png").exists()
    model.train()


def test_photos_and_cameras_beside_the_middle_are_refused():
    table, config = example_table(4), page.Config(**TINY)
    page.check(table, config)
    photos = replace(table, perspective=np.array([True, False, False, True]))
    with pytest.raises(InvalidValue, match="draws whole panoramas, and 2 of these 4 pairs"):
        page.check(photos, config)
    beside = replace(table, aerial_latlon=table.aerial_latlon + 2e-4)
    with pytest.raises(InvalidValue, match="from the middle"):
        page.check(beside, config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aerial_px": (32, 32)}, "ground_px and aerial_px must be equal"),
        ({"ground_px": (28, 64), "aerial_px": (28, 64)}, "multiples of 8"),
        ({"widths": (8, 8, 8)}, "widths are 4 numbers"),
        ({"hard_shares": (1.0, 0.1)}, "one rising epoch fewer"),
        ({"real": 0.0}, "real must lie in"),
        ({"mirror": 2.0}, "mirror is a probability"),
        ({"retrieval": -1.0}, "retrieval must be at least 0"),
        ({"reduce": "median"}, "reduce must be mean or max"),
    ],
)
def test_settings_that_none_can_have_are_refused(settings, message):
    with pytest.raises(InvalidValue, match=message):
        page.Config(**{**TINY, **settings})


def test_widths_must_end_with_the_channels_of_the_street(built):
    with pytest.raises(InvalidValue, match="test_resnet gives 192 channels"):
        page.build(replace(built[0], widths=(4, 8, 8, 16)))
