"""What studies compose of the papers' pages."""

import pytest
import torch

from crossview.networks.layout_masks import DescriptorTokens, EncoderSpec, PositionTokens
from crossview.studies.variants import scale_masks

SPEC = EncoderSpec(hidden=16)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_masks_of_a_small_map_differ_between_pictures_if_their_start_is_scaled(version):
    spread = {}
    for scaled in (False, True):
        torch.manual_seed(0)
        masks = (
            DescriptorTokens(16, 4, SPEC) if version == "v1" else PositionTokens((8, 16), 4, SPEC)
        )
        masks = (scale_masks(masks) if scaled else masks).eval()
        with torch.no_grad():
            spread[scaled] = float(masks(torch.randn(50, 8, 16)).std(dim=0).mean())
    assert spread[True] > 0.05
    assert spread[True] > 50 * spread[False]
