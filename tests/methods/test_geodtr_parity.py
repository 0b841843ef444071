"""GeoDTR and GeoDTR+ against the numbers that the authors' code gave with the same weights."""

import pytest
import torch
from tests.methods.authors import checkpoint, outputs, pictures, recipe

from crossview.methods import geodtr, geodtr_plus
from crossview.training.setup import build_without_weights

CONFIGURATIONS = {  # name: page, settings beyond the published ones of that data, tolerance
    "geodtr_polar": (geodtr, {}, 3e-4),
    "geodtr_nopolar": (geodtr, recipe("geodtr", "cvusa-plain"), 3e-4),
    "geodtrplus_convnext_polar": (geodtr_plus, {}, 1.5e-5),
    "geodtrplus_convnext_nopolar": (geodtr_plus, recipe("geodtr-plus", "cvusa-plain"), 1.5e-5),
    "geodtrplus_convnext_vigor": (geodtr_plus, recipe("geodtr-plus", "vigor"), 1.5e-5),
    "geodtrplus_resnet_polar_nobottleneck": (
        geodtr_plus,
        {"backbone": "resnet34.tv_in1k", "bottleneck": False},
        1.5e-5,
    ),
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def configuration(request):
    """(page, config, the authors' state, what their code gave, tolerance)."""
    page, settings, tolerance = CONFIGURATIONS[request.param]
    file = f"{request.param.split('_')[0]}.npz"
    state, arrays = checkpoint(request.param), outputs(file, request.param)
    return page, page.Config(**settings), state, arrays, tolerance


def test_the_same_weights_and_pictures_give_the_authors_embeddings(configuration):
    page, config, state, arrays, tolerance = configuration
    model = build_without_weights(page, config).eval()
    model.load_state_dict(page.imported(state, config))  # strict: no key missing, none left over
    for view in ("ground", "aerial"):
        with torch.no_grad():
            layout = getattr(model, view).layout(pictures(arrays, view))
        rows, columns = layout.size
        maps = layout.features[0, :8].reshape(8, rows, columns)
        assert_close(maps, arrays[f"backbone_{view}_sample0_first8"], 1.5e-5)
        assert_close(layout.masks, arrays[f"descriptor_{view}"], tolerance)
        assert_close(layout.vector, arrays[f"embedding_{view}"], tolerance)


def assert_close(ours, theirs, tolerance):
    theirs = torch.tensor(theirs)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


def test_what_the_shapes_show_is_the_configuration(configuration):
    page, config, state, _, _ = configuration
    known = page.shown(state)
    assert {name: getattr(config, name) for name in known} == known
    assert {"descriptors", "ground_px", "aerial_px", "polar", "hidden"} <= set(known)
