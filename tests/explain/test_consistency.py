from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.contract.test_methods import tiny
from tests.tiny_pairs import write_pairs

from crossview.catalogue import METHODS, configure, open_data
from crossview.errors import InvalidValue
from crossview.evaluation.run_comparison import FIELDS_DEG
from crossview.explain.consistency import (
    CROPS_DEG,
    NAMES,
    SHARES,
    activation_maps,
    azimuth_column,
    draw_attention,
    measure_consistency,
    ssim,
)
from crossview.pairs.loading import Reader
from crossview.pairs.reading import Files
from crossview.views.crops import find_authors_sector

TINY = {
    **{"backbone": "test_convnext", "weights": "none", "aerial_px": 64, "ground_px": (64, 256)},
    **{"elevation_deg": (-45.0, 45.0), "footprint_m": 60.0},
}
VIT = {"backbone": "test_vit", "separate": True, "representation": "padded"}
MASKS = {"architecture": "geodtr-plus", "representation": "padded"}


def configured(**settings):
    """SinGeo's page, or that of its variant, and its Config."""
    ref, config = configure("singeo", TINY | settings)
    return ref.load(), config


def reader_of(folder, page, config, places=6):
    csv = folder / "pairs.csv"
    if not csv.is_file():
        write_pairs(folder, places)
    table, views = open_data(f"pairs:{csv}").tables["train"], page.views(config)
    source = Files(table, views)
    return Reader(
        table=table, source=source, views=views, places=table.places(), page=None, config={}, seed=0
    )


def slow_ssim(one, other):
    """The formula window by window, with weights of a Gaussian."""
    steps = torch.arange(11.0).double() - 5
    weights = torch.exp(-(steps**2) / 4.5)
    window = weights[:, None] * weights[None, :] / weights.sum() ** 2
    values = []
    for top in range(one.shape[0] - 10):
        for left in range(one.shape[1] - 10):
            a, b = (m[top : top + 11, left : left + 11].double() for m in (one, other))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            both = (window * (a - ma) * (b - mb)).sum()
            light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            values.append(light * (2 * both + 9e-4) / (va + vb + 9e-4))
    return float(torch.stack(values).mean())


def test_ssim_is_that_of_the_paper():
    draw = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 13, 15, generator=draw), torch.rand(2, 13, 15, generator=draw)
    expected = [slow_ssim(a, b) for a, b in zip(one, other, strict=True)]
    assert ssim(one, other).tolist() == pytest.approx(expected, abs=1e-9)
    assert ssim(one, one).tolist() == pytest.approx([1, 1])


def test_a_constant_map_agrees_with_itself_which_is_why_blank_maps_are_told():
    blank = torch.zeros(1, 12, 12)
    assert float(ssim(blank, blank)) == pytest.approx(1.0)


def test_maps_smaller_than_the_window_are_refused():
    with pytest.raises(InvalidValue, match="4 x 24 are smaller than SSIM's window of 11"):
        ssim(torch.rand(1, 4, 24), torch.rand(1, 4, 24))


@pytest.mark.parametrize("settings", [{}, VIT, MASKS], ids=["cnn", "vit", "masks"])
def test_maps_have_the_size_of_their_picture_and_lie_between_0_and_1(settings):
    torch.manual_seed(0)
    page, config = configured(**settings)
    model = page.build(config).eval()
    for side, size in (("ground", (64, 256)), ("aerial", (64, 64))):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            dim = getattr(model, side)(images).shape[1]
        partner = torch.nn.functional.normalize(torch.randn(2, dim), dim=1)
        maps, cells = activation_maps(model, side, images, partner)
        assert tuple(maps.shape) == (2, *size)
        assert float(maps.min()) >= 0.0
        assert float(maps.max()) <= 1.0
        assert cells[1] * 4 <= size[1]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_catalogue_has_maps_or_says_that_it_has_none(name):
    torch.manual_seed(0)
    page, config = tiny(name)
    model, views = page.build(config).eval(), page.views(config)
    for side in ("ground", "aerial"):
        spec = getattr(views, side)
        images = torch.randn(2, 3, spec.height_px, spec.width_px)
        if name == "statewide":  # the scales of a cell are pictures of their own in its encoder
            with pytest.raises(InvalidValue, match="CellNetwork has no layer"):
                activation_maps(model, side, images, torch.ones(2, 4))
            continue
        with torch.no_grad():
            dim = getattr(model, side)(images).shape[1]
        partner = torch.nn.functional.normalize(torch.randn(2, dim), dim=1)
        maps, cells = activation_maps(model, side, images, partner)
        assert tuple(maps.shape) == tuple(images[:, 0].shape)
        assert min(cells) >= 1


def test_a_branch_that_looks_at_some_patches_has_no_map():
    """TransGeo's second stage: the patches of the aerial picture that are attended to most."""

    class Part(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([torch.nn.Module()])
            self.blocks[0].norm1 = torch.nn.Linear(3, 3)
            self.patch_embed = SimpleNamespace(grid_size=(2, 2))
            self.num_prefix_tokens = 1

        def forward(self, images):
            return self.blocks[0].norm1(images.flatten(2).transpose(1, 2)[:, :3]).mean(dim=1)

    model = torch.nn.Module()
    model.aerial = Part()
    with pytest.raises(InvalidValue, match="looks at 2 of 4 patches only"):
        activation_maps(model, "aerial", torch.randn(2, 3, 2, 2), torch.ones(2, 3))


def test_a_map_is_the_weighted_sum_of_features_where_that_is_easy_to_say():
    """One linear layer: the gradient of the score by a cell is the partner's vector over cells."""

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1, bias=False))

        def forward(self, images):
            return self.stages(images).mean(dim=(2, 3))

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Encoder()

        def ground(self, images):
            return self.model(images)

    torch.manual_seed(0)
    torch.nn.init.uniform_((net := Model()).model.stages[0].weight)
    model, images, partner = net.eval(), torch.rand(1, 3, 5, 6), torch.rand(1, 4)
    maps, cells = activation_maps(model, "ground", images.clone(), partner)
    features = model.model.stages(images)
    expected = (features * partner[:, :, None, None]).sum(dim=1).relu()
    assert cells == (5, 6)
    torch.testing.assert_close(maps, (expected / expected.max()).detach())


def test_a_network_of_no_known_layer_is_refused():
    model = torch.nn.Module()
    model.ground = torch.nn.Linear(3, 3)
    with pytest.raises(InvalidValue, match="Linear has no layer"):
        activation_maps(model, "ground", torch.rand(1, 3, 4, 4), torch.rand(1, 3))


@pytest.mark.parametrize("settings", [{}, VIT], ids=["narrow", "padded"])
def test_all_indices_are_measured_with_their_shuffled_controls(tmp_path, settings):
    torch.manual_seed(0)
    page, config = configured(**settings)
    found = measure_consistency(page.build(config), reader_of(tmp_path, page, config), range(6))
    assert set(found) == {n + more for n in NAMES for more in ("", ", shuffled")}
    for index in found.values():
        assert 0 <= index.low <= index.value <= index.high <= 1
        assert index.value == pytest.approx((index.ssim + 1) / 2)


class Level(torch.nn.Module):
    """Convolutions of one pixel: the map of a turned picture is the turned map."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.stages = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, stride=4))

    def ground(self, images):
        return torch.nn.functional.normalize(self.model.stages(images).mean(dim=(2, 3)), dim=1)

    aerial = ground


def test_a_network_that_turns_with_its_picture_has_index_1_in_whole_cells_and_less_in_half(
    tmp_path,
):
    torch.manual_seed(0)
    reader = reader_of(tmp_path, *configured())
    found = measure_consistency(Level(), reader, [0, 1, 2, 3])
    seam = found["ground, turned"].value  # bilinear enlargement knows no ring: the seam differs
    assert seam > 0.97
    assert found["ground, half a cell off"].value < seam
    assert found["ground, turned, shuffled"].value < seam


def test_an_unrolled_tile_turns_as_a_panorama_does(tmp_path):
    torch.manual_seed(0)
    reader = reader_of(tmp_path, *configured(polar=True))
    found = measure_consistency(Level(), reader, [0, 1, 2, 3])
    assert found["aerial, turned"].value > 0.97
    assert found["aerial, turned, shuffled"].value < found["aerial, turned"].value


def test_the_subset_decides_the_numbers(tmp_path):
    torch.manual_seed(0)
    page, config = configured()
    model, reader = page.build(config), reader_of(tmp_path, page, config)
    one, again = (measure_consistency(model, replace(reader), [1, 4]) for _ in range(2))
    assert one == again


def test_evaluate_tells_indices_and_keeps_pictures(tmp_path, capsys):
    from tests.training.test_mining import request
    from tests.training.tiny import trained

    from crossview.cli import main

    run = request(tmp_path, steps=1, out="run", ground_px=(64, 256))
    trained(run)
    code = main([
        "evaluate", str(run.out), "--data", run.data, "--split", "train", "--consistency",
        "--out", str(tmp_path / "out"), "--device", "cpu", "--method", "singeo",
    ])  # fmt: skip
    assert code in (0, None)
    assert "ground, turned: 0." in capsys.readouterr().out
    kept = {path.suffix for path in (tmp_path / "out").iterdir()}
    assert kept == {".json", ".png"}


@pytest.mark.parametrize("theta", [180.0, 90.0, 70.0])
@pytest.mark.parametrize("angle", [0.0, 120.0, 300.0])
def test_the_marked_columns_are_the_edges_and_the_middle_of_what_is_kept(theta, angle):
    kept = find_authors_sector(720, theta, angle)
    first, last = int(kept.columns[0]), int(kept.columns[-1])
    assert azimuth_column(kept.heading_deg - theta / 2, 720) == pytest.approx(first - 0.5)
    assert azimuth_column(kept.heading_deg + theta / 2, 720) % 720 == pytest.approx(last + 0.5)
    assert azimuth_column(kept.heading_deg, 720) == pytest.approx(np.median(np.unwrap(
        kept.columns, period=720)) % 720)  # fmt: skip


@pytest.mark.parametrize("polar", [False, True])
def test_heat_maps_of_a_pair_are_drawn(polar, tmp_path):
    page, config = configured(polar=polar)
    torch.manual_seed(0)
    draw_attention(
        tmp_path / "a.png", page.build(config).eval(), reader_of(tmp_path, page, config), 0
    )
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_pictures_are_turned_by_quarters_and_cut_to_the_fields_of_view_of_the_headline():
    assert SHARES == (0.25, 0.5, 0.75)
    assert (360.0, *CROPS_DEG) == FIELDS_DEG
