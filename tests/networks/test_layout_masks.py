import pytest
import torch

from crossview.errors import InvalidValue
from crossview.networks.backbones import map_size, trunk
from crossview.networks.layout_masks import (
    DescriptorTokens,
    Encoder,
    EncoderSpec,
    LayoutBranch,
    MaskBank,
    PositionTokens,
    geodtr_tensors,
    orthonormal,
)

SPEC = EncoderSpec(hidden=16)


def millions(*modules):
    return sum(p.numel() for m in modules for p in m.parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "size_px", "channels", "rows_columns"),
    [
        ("convnext_tiny", (122, 671), 384, (7, 41)),  # floors at every patch
        ("convnext_tiny", (320, 640), 384, (20, 40)),
        ("resnet34", (122, 671), 512, (8, 42)),  # pads, so it rounds up
        ("vgg16", (112, 616), 512, (4, 20)),
        ("vgg16", (256, 256), 512, (8, 8)),
    ],
)
def test_maps_have_the_published_sizes(name, size_px, channels, rows_columns):
    with torch.device("meta"):
        cut = trunk(name, "none")
    assert cut.channels == channels
    assert map_size(cut, size_px) == rows_columns


def test_two_cut_convnexts_have_the_published_number_of_parameters():
    with torch.device("meta"):
        cut = trunk("convnext_tiny", "none")
    assert 2 * millions(cut) == pytest.approx(24.70, abs=0.01)


def test_the_map_that_is_foretold_is_the_map_that_comes():
    cut = trunk("test_convnext", "none").eval()
    assert tuple(cut(torch.zeros(1, 3, 70, 100)).shape[2:]) == map_size(cut, (70, 100))


def test_too_small_pictures_and_uncut_families_are_refused():
    with pytest.raises(InvalidValue, match="8 x 8 pixels are too small"):
        map_size(trunk("test_convnext", "none"), (8, 8))
    with pytest.raises(InvalidValue, match="No cut is known for the backbone 'test_vit'"):
        trunk("test_vit", "none")


def test_a_branch_refuses_pictures_of_another_size():
    def masks(*size):
        return PositionTokens(size, 2, SPEC)

    branch = LayoutBranch(trunk("test_convnext", "none"), (32, 64), masks)
    with pytest.raises(InvalidValue, match="takes pictures of 64 x 32 pixels, got 32 x 64"):
        branch(torch.zeros(1, 3, 64, 32))


@pytest.mark.parametrize(
    ("generator", "low", "high"),
    [
        (DescriptorTokens(6, 3, EncoderSpec(heads=1, hidden=8)), -1.0, 1.0),
        (PositionTokens((4, 6), 3, SPEC), 0.0, 1.0),
        (PositionTokens((4, 6), 3, SPEC, squash="hardtanh"), -1.0, 1.0),
        (PositionTokens((4, 6), 3, SPEC, span="orthogonalised"), -1.0, 1.0),
        (MaskBank(6, 3), -100.0, 100.0),
    ],
)
def test_generators_give_a_value_per_position_and_mask_in_their_range(generator, low, high):
    with torch.no_grad():
        masks = generator.eval()(50 * torch.randn(5, 4, 6))
    assert masks.shape == (5, 6, 3)
    assert float(masks.min()) >= low
    assert float(masks.max()) <= high


@pytest.mark.parametrize(("heads", "layers"), [(4, 2), (3, 1)])
def test_the_encoder_is_pytorchs_with_the_norm_after_each_step(heads, layers):
    dim = 24
    layer = torch.nn.TransformerEncoderLayer(dim, heads, 16, activation="gelu", batch_first=True)
    norm = torch.nn.LayerNorm(dim)
    theirs = torch.nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False).eval()
    state = {f"ge_grd.tr_module.transformer_encoder.{k}": v for k, v in theirs.state_dict().items()}
    names = {
        k.removeprefix("ground.generator.encoder."): v for k, v in geodtr_tensors(state).items()
    }
    ours = Encoder(dim, EncoderSpec(heads=heads, layers=layers, hidden=16)).eval()
    ours.load_state_dict(names)
    tokens = torch.randn(2, 5, dim)
    torch.testing.assert_close(ours(tokens), theirs(tokens))


def test_orthogonalised_masks_are_the_q_of_lapack():
    masks = torch.randn(3, 12, 5, dtype=torch.float64)
    masks[1, 1:, 0] = 0.0  # nothing to turn
    masks[2] = masks[2].sigmoid()
    ours = orthonormal(masks)
    torch.testing.assert_close(ours, torch.linalg.qr(masks)[0])
    with pytest.raises(InvalidValue, match="5 masks of 4 positions"):
        orthonormal(masks[:, :4])


@pytest.mark.parametrize("span", ["normalised", "orthogonalised"])
def test_masks_may_have_length_one_and_stand_at_right_angles(span):
    generator = PositionTokens((4, 6), 3, SPEC, span=span).eval()
    features = torch.randn(2, 4, 6)
    masks = generator(features)
    angles = masks.transpose(1, 2) @ masks
    expected = torch.eye(3) if span == "orthogonalised" else angles
    torch.testing.assert_close(angles, expected.expand(2, 3, 3))
    torch.testing.assert_close(angles.diagonal(dim1=1, dim2=2), torch.ones(2, 3))
    generator.span = "free"
    torch.testing.assert_close(
        masks[..., 0].abs(), torch.nn.functional.normalize(generator(features)[..., 0], dim=1)
    )


def test_safas_bank_looks_at_the_mean_channel_and_its_ports_at_the_largest():
    features = torch.randn(2, 4, 6)
    bank = MaskBank(6, 3)
    same = features.mean(dim=1, keepdim=True).expand(-1, 4, -1)
    torch.testing.assert_close(bank(features), bank(same))
    bank.reduce = "max"
    same = features.amax(dim=1, keepdim=True).expand(-1, 4, -1)
    torch.testing.assert_close(bank(features), bank(same))


def test_impossible_sizes_of_generators_are_refused():
    with pytest.raises(InvalidValue, match="even number of positions, got 7"):
        DescriptorTokens(7, 3, SPEC)
    with pytest.raises(InvalidValue, match="descriptors must be at least 1, got 0"):
        MaskBank(6, 0)
    with pytest.raises(InvalidValue, match="4 attention heads .* of 6 .*\nChoose .*1, 2, 3, 6"):
        PositionTokens((6, 6), 3, SPEC)
    with pytest.raises(InvalidValue, match="squash must be sigmoid or hardtanh, got 'relu'"):
        PositionTokens((4, 6), 3, SPEC, squash="relu")
    with pytest.raises(InvalidValue, match="span must be one of free, normalised, orthogonalised"):
        PositionTokens((4, 6), 3, SPEC, span="none")
