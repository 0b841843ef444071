import pytest
import torch

from crossview.cli import main
from crossview.methods import geodtr, geodtr_plus, safa, sample4geo
from crossview.training.cost import count_cost


def counted(page, **settings):
    config = page.Config(weights="none", **settings)
    with torch.device("meta"):
        model = page.build(config)
    return count_cost(model, page.views(config))


def test_geodtr_plus_costs_what_its_table_says_if_only_backbones_count():
    found = counted(geodtr_plus)
    assert found.trunk_parameters / 1e6 == pytest.approx(24.70, abs=0.01)
    assert 11.22 <= found.trunk_macs / 1e9 <= 11.25
    assert found.parameters / 1e6 == pytest.approx(30.19, abs=0.01)
    assert found.macs / 1e9 == pytest.approx(found.trunk_macs / 1e9 + 2 * 0.69, abs=0.15)


@pytest.mark.parametrize(
    ("page", "settings", "millions"),
    [
        (geodtr, {}, 48.51),
        (geodtr_plus, {"polar": False, "aerial_px": (256, 256)}, 30.05),
        (geodtr_plus, {"bottleneck": False}, 28.87),
        (
            geodtr_plus,
            {"polar": False, "ground_px": (320, 640), "aerial_px": (320, 320)},
            35.53,
        ),
        (safa, {}, 29.53),
    ],
)
def test_networks_have_the_known_number_of_parameters(page, settings, millions):
    assert counted(page, **settings).parameters / 1e6 == pytest.approx(millions, abs=0.01)


def test_safa_costs_what_is_known_of_it():
    assert counted(safa).macs / 1e9 == pytest.approx(42.25, abs=0.05)


def test_a_shared_encoder_counts_once():
    found = counted(sample4geo, backbone="test_convnext", aerial_px=64, ground_px=(32, 128))
    assert found.parameters == found.ground.parameters
    assert found.macs == found.ground.macs + found.aerial.macs


def test_the_command_names_multiply_adds_and_the_published_row(capsys):
    small = ["--config=backbone=test_convnext", "--config=ground_px=[32,64]",
             "--config=aerial_px=[32,64]", "--config=hidden=16"]  # fmt: skip
    assert main(["cost", "geodtr-plus", *small, "--no-time"]) == 0
    said = capsys.readouterr().out
    assert "G multiply-adds (backbone alone:" in said
    assert "24.7 M, 103 ms, 11.25 G multiply-adds, printed there as GFLOPS" in said
    assert main(["cost", "geodtr-plus", "--recipe", "kitti"]) == 2
