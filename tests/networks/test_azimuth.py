from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own name for it
from timm.layers import create_conv2d

from crossview.errors import InvalidValue, WeightsUnavailable
from crossview.networks.azimuth import (
    LITE,
    LITE_FILE,
    LITE_PACKAGE,
    PACKAGE,
    SHRINKAGE,
    AzimuthEncoder,
    JointEncoder,
    RingConv,
    TrunkEncoder,
    correlate_turns,
    fill_trunk,
    renew_whitening,
    whiten,
    wrap_columns,
)
from crossview.networks.losses import turn_scores
from crossview.networks.weight_files import read_weights


def picture(width, *, asked):
    draw = torch.Generator().manual_seed(width)
    return torch.randn(2, 3, 4, width, generator=draw, dtype=torch.float64).requires_grad_(asked)


@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("asked", [True, False])
def test_columns_wrap_around(width, asked):
    x = picture(width, asked=asked)
    columns = [(column - 1) % width for column in range(width + 2)]
    assert torch.equal(wrap_columns(x), x[..., columns])


@pytest.mark.parametrize("width", [1, 2, 7])
def test_gradients_of_wrapped_columns_are_those_of_plain_slices(width):
    x = picture(width, asked=True)
    weights = torch.randn(2, 3, 4, width + 2, dtype=torch.float64)
    (fast,) = torch.autograd.grad((wrap_columns(x) * weights).sum(), x)
    slices = torch.cat([x[..., -1:], x, x[..., :1]], dim=3)
    (slow,) = torch.autograd.grad((slices * weights).sum(), x)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-15)


def correlate_slowly(ground, aerial):
    """One product at a time."""
    bins = ground.shape[1]
    rows = [
        [
            [sum(one[j] @ other[(j + turn) % bins] for j in range(bins)) for turn in range(bins)]
            for other in aerial
        ]
        for one in ground
    ]
    return torch.stack([torch.stack([torch.stack(turns) for turns in row]) for row in rows])


@pytest.mark.parametrize("bins", [1, 2, 5, 8])
def test_the_correlation_is_the_sum_of_products_at_every_turn(bins):
    draw = torch.Generator().manual_seed(bins)
    ground = torch.randn(3, bins, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    aerial = torch.randn(2, bins, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    fast, slow = correlate_turns(ground, aerial), correlate_slowly(ground, aerial)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-13)
    weights = torch.randn(fast.shape, generator=draw, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((values * weights).sum(), (ground, aerial)) for values in (fast, slow)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(correlate_turns, (ground, aerial))


def test_the_correlation_stays_float32_under_autocast():
    ground, aerial = torch.rand(2, 8, 4).bfloat16(), torch.rand(3, 8, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = correlate_turns(ground, aerial)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, correlate_slowly(ground.float(), aerial.float()))


def test_a_turned_panorama_has_the_same_blocks_turned():
    """Eight columns are one bin; a turn by whole bins moves whole blocks of the vector."""
    torch.manual_seed(0)
    encoder = AzimuthEncoder((16, 64), (4, 8, 8), (0, 1, 1), 4).eval()
    strip = torch.rand(1, 3, 16, 64)
    with torch.no_grad():
        here, turned = (encoder(s).reshape(8, 4) for s in (strip, strip.roll(24, dims=3)))
    np.testing.assert_allclose(turned, here.roll(3, dims=0), atol=1e-6)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(InvalidValue, match="multiples of 8 px, got 20 x 64"):
        AzimuthEncoder((20, 64), (4, 8, 8), (0, 1, 1), 4)


@pytest.mark.parametrize(("left", "right"), [(0, 1), (1, 2), (2, 2), (2, 0)])
@pytest.mark.parametrize("asked", [True, False])
def test_rings_are_as_wide_as_asked_on_each_side(left, right, asked):
    x = picture(7, asked=asked)
    columns = [(column - left) % 7 for column in range(7 + left + right)]
    assert torch.equal(wrap_columns(x, left, right), x[..., columns])
    if asked:
        weights = torch.randn(2, 3, 4, 7 + left + right, dtype=torch.float64)
        (fast,) = torch.autograd.grad((wrap_columns(x, left, right) * weights).sum(), x)
        (slow,) = torch.autograd.grad((x[..., columns] * weights).sum(), x)
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_ring_convolution_is_tensorflows_on_a_picture_that_goes_on(kernel, stride):
    """Three copies side by side: the middle one sees what it would see on a ring."""
    torch.manual_seed(kernel)
    conv = create_conv2d(4, 4, kernel, stride=stride, padding="same", depthwise=True)
    x = torch.rand(2, 4, 8, 12)
    wide = conv(torch.cat([x, x, x], dim=3))
    middle = wide[..., 12 // stride : 24 // stride]
    torch.testing.assert_close(RingConv.of(conv)(x), middle, rtol=0, atol=1e-6)


def trunk(**settings):
    torch.manual_seed(2)
    chosen = {"blocks": 4, "rows": 2, "bins": 4, "whitened": 12, "hidden": 8, "depth": 3}
    encoder = TrunkEncoder((32, 128), **(chosen | settings)).eval()
    for norm in encoder.lite.modules():  # as trained ones, so that features differ
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
    return encoder


@pytest.mark.parametrize(("blocks", "rows"), [(4, 2), (4, 1), (3, 4)])
def test_a_turned_picture_turns_the_blocks_of_a_trunk(blocks, rows):
    encoder, strip = trunk(blocks=blocks, rows=rows), torch.rand(1, 3, 32, 128)
    with torch.no_grad():
        here, turned = (encoder(s).reshape(4, 3) for s in (strip, strip.roll(64, dims=3)))
    np.testing.assert_allclose(turned, here.roll(2, dims=0), atol=1e-6)
    assert not np.allclose(here[0], here[2])


def small(**settings):
    return AzimuthEncoder((16, 64), (4, 8, 8), (0, 1, 1), 4, **settings)


@pytest.mark.parametrize(
    ("encoder", "size"),
    [
        (small(equal_bins=True), (16, 64)),
        (trunk(), (32, 128)),
        (trunk(hidden=0), (32, 128)),
        (JointEncoder(small(equal_bins=True), trunk(bins=8), 8), (32, 128)),
    ],
)
def test_equal_bins_have_one_length_and_scores_over_some_are_means_of_cosines(encoder, size):
    with torch.no_grad():
        one, other = encoder.eval()(torch.rand(2, 3, *size))
    bins = getattr(encoder, "bins", 8 if size == (16, 64) else 4)
    blocks, others = one.reshape(bins, -1), other.reshape(bins, -1)
    np.testing.assert_allclose(blocks.norm(dim=1), bins**-0.5, rtol=1e-5)
    seen = torch.zeros(1, bins)
    seen[0, 1:3] = 1.0
    scores = turn_scores(one[None], other[None], seen)[0, 0]
    for turn in range(bins):
        cosines = [F.cosine_similarity(blocks[j], others[(j + turn) % bins], dim=0) for j in (1, 2)]
        assert scores[turn] == pytest.approx(float(sum(cosines)) / 2, abs=1e-5)
    whole = turn_scores(one[None], other[None], torch.ones(1, bins))[0, 0]
    assert whole[0] == pytest.approx(float(one @ other), abs=1e-5)


def test_the_weight_of_a_pair_of_encoders_mixes_their_scores():
    joint = JointEncoder(small(equal_bins=True), trunk(bins=8), 8).eval()
    pictures = torch.rand(2, 3, 32, 128)
    with torch.no_grad():
        joint.balance.fill_(1.0)
        share = float(torch.sigmoid(joint.balance))
        one, other = joint(pictures)
        halves = [joint.small(F.avg_pool2d(pictures, 2)), joint.pretrained(pictures)]
    scores = [float(half[0] @ half[1]) for half in halves]
    expected = (1 - share) * scores[0] + share * scores[1]
    assert float(one @ other) == pytest.approx(expected, abs=1e-5)


def test_a_trunk_keeps_its_statistics_in_training():
    encoder = trunk().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(torch.rand(4, 3, 32, 128))
    moved = {n for n, v in encoder.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == {
        f"head.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def slow_moments(encoder, batches):
    """Mean and covariance of all bins of all pictures, number by number."""
    with torch.no_grad():
        rows = [
            bins[:, j].double().numpy()
            for images in batches
            for bins in encoder.features(images)
            for j in range(bins.shape[1])
        ]
    mean = sum(rows) / len(rows)
    return mean, sum(np.outer(row - mean, row - mean) for row in rows) / len(rows)


def pictures_of_both_sides():
    draw = torch.Generator().manual_seed(5)
    shape = (6, 3, 32, 128)
    return [
        (torch.rand(shape, generator=draw), 0.3 * torch.rand(shape, generator=draw) + 0.2)
        for _ in range(3)
    ]


def test_whitening_against_a_slow_obvious_loop():
    ground, aerial = trunk(), trunk()
    both = pictures_of_both_sides()
    whiten(ground, aerial, both)
    moments = [
        slow_moments(e, s) for e, s in zip((ground, aerial), zip(*both, strict=True), strict=True)
    ]
    values, vectors = np.linalg.eigh((moments[0][1] + moments[1][1]) / 2)
    shared = vectors[:, np.argsort(values)[::-1][:12]].T
    for encoder, (mean, covariance) in zip((ground, aerial), moments, strict=True):
        own = shared @ covariance @ shared.T
        own += SHRINKAGE * own.trace() / 12 * np.eye(12)
        w, v = np.linalg.eigh(own)
        expected = v @ np.diag(w**-0.5) @ v.T @ shared
        axes = encoder.whitening.axes.numpy()
        np.testing.assert_allclose(encoder.whitening.centre, mean, atol=1e-6)
        np.testing.assert_allclose(axes.T @ axes, expected.T @ expected, rtol=2e-3, atol=2e-3)
    assert ground.whitening.is_measured
    assert not trunk().whitening.is_measured


def test_renewal_moves_centre_and_covariance_by_its_share_and_keeps_the_axes():
    ground, aerial = trunk(), trunk()
    whiten(ground, aerial, pictures_of_both_sides())
    old = ground.whitening.axes.double().numpy()
    old_covariance = np.linalg.inv(old @ old.T)
    other = [0.5 * torch.rand(6, 3, 32, 128) for _ in range(2)]
    mean, covariance = slow_moments(ground, other)
    w, v = np.linalg.eigh(old_covariance)
    axes = v @ np.diag(w**0.5) @ v.T @ old
    fresh = axes @ covariance @ axes.T
    fresh += SHRINKAGE * fresh.trace() / 12 * np.eye(12)
    centre = ground.whitening.centre.numpy().copy()
    with torch.no_grad():
        renew_whitening(ground.whitening, [ground.features(images) for images in other], 0.25)
    np.testing.assert_allclose(ground.whitening.centre, 0.75 * centre + 0.25 * mean, atol=1e-6)
    new = ground.whitening.axes.double().numpy()
    expected = 0.75 * old_covariance + 0.25 * fresh
    np.testing.assert_allclose(np.linalg.inv(new @ new.T), expected, rtol=1e-3, atol=1e-4)
    w, v = np.linalg.eigh(np.linalg.inv(new @ new.T))
    np.testing.assert_allclose(v @ np.diag(w**0.5) @ v.T @ new, axes, atol=1e-3)


def test_nothing_renewed_is_nothing_changed():
    ground, aerial = trunk(), trunk()
    whiten(ground, aerial, pictures_of_both_sides())
    before = ground.whitening.axes.clone()
    with torch.no_grad():
        renew_whitening(ground.whitening, [ground.features(torch.rand(4, 3, 32, 128))], 0.0)
    torch.testing.assert_close(ground.whitening.axes, before, rtol=1e-4, atol=1e-4)


def test_sides_that_do_not_fit_a_trunk_are_refused():
    with pytest.raises(InvalidValue, match="stride 16"):
        TrunkEncoder((40, 128), blocks=4, rows=2, bins=4, whitened=8, hidden=0, depth=3)
    with pytest.raises(InvalidValue, match="trunk_blocks must lie in 1..7"):
        TrunkEncoder((32, 128), blocks=8, rows=2, bins=4, whitened=8, hidden=0, depth=3)


def test_weights_fit_by_name_or_by_order_and_nothing_else(tmp_path):
    first, second = trunk(), trunk(blocks=3, rows=4)
    named = {f"{name}": value for name, value in first.lite.state_dict().items()}
    torch.save(named, tmp_path / "named.pth")
    torch.save({f"_{n}": value for n, value in enumerate(named.values())}, tmp_path / "order.pth")
    for file in ("named.pth", "order.pth"):
        encoder = trunk(blocks=3, rows=4)
        fill_trunk(encoder, str(tmp_path / file))
        for name, value in encoder.lite.state_dict().items():
            assert torch.equal(value, named[name])
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsUnavailable, match="does not fit tf_efficientnet_lite0"):
        fill_trunk(second, str(tmp_path / "other.pth"))
    with pytest.raises(WeightsUnavailable, match="No such file"):
        fill_trunk(second, str(tmp_path / "none.pth"))


def test_the_packages_weights_are_taken_only_with_the_known_digest(tmp_path, monkeypatch):
    package = tmp_path / LITE_PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('this never runs')")
    torch.save({"x": torch.zeros(3)}, package / LITE_FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WeightsUnavailable, match="is not the file that is known"):
        fill_trunk(trunk(), PACKAGE)
    (package / LITE_FILE).unlink()
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        fill_trunk(trunk(), PACKAGE)
    monkeypatch.setattr("crossview.networks.azimuth.LITE_PACKAGE", "no_such_package")
    with pytest.raises(WeightsUnavailable, match="not installed"):
        fill_trunk(trunk(), PACKAGE)


def test_pretrained_weights_give_what_timm_gives_on_a_plain_picture():
    """Away from the seam and from rows that see the edge nothing differs from timm's network."""
    spec = find_spec(LITE_PACKAGE)
    if spec is None:
        pytest.skip(f"{LITE_PACKAGE} is not installed (it comes with crossview[train])")
    weights = read_weights(Path(spec.origin).parent / LITE_FILE).tensors
    whole = timm.create_model(LITE, pretrained=False).eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    encoder = TrunkEncoder((32, 512), blocks=3, rows=4, bins=16, whitened=8, hidden=0, depth=8)
    fill_trunk(encoder, PACKAGE)
    images = torch.rand(1, 3, 32, 512)
    with torch.no_grad():
        ours = encoder.eval().lite(images)
        theirs = whole.blocks[:3](whole.bn1(whole.conv_stem(images)))
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours[..., 16:48], theirs[..., 16:48], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours[..., 0], theirs[..., 0], atol=1e-3)
