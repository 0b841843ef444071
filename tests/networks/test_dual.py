import math

import numpy as np
import pytest
import torch
from tests.shared_data import shared
from torch.testing import assert_close

from crossview.networks.losses import dual_info_nce

TOTALS = {  # the weights of the authors' three trainers, and of ConGeo
    "singeo_cnn_total": {"cross": (0.25, 0.25, 0.25), "alike": 0.5},
    "singeo_vit_total": {"cross": (0.25, 0.25, 1.0), "alike": 0.5},
    "singeo_university_total": {"cross": (0.5, 0.5, 1.0), "alike": 0.5},
    "congeo_total": {"cross": (0.25, 0.0, 0.0), "alike": 0.5},
}
NAMES = {"q1": "ground", "q2": "ground_2", "r1": "aerial", "r2": "aerial_2"}


@pytest.mark.parametrize("group", ["n8_multi", "n32_multi"])
@pytest.mark.parametrize("total", TOTALS)
def test_totals_and_gradients_are_those_of_the_authors_training_loops(group, total):
    data = np.load(shared("parity", "losses.npz"))
    inputs = {q: torch.tensor(data[f"{group}/{q}"], requires_grad=True) for q in NAMES}
    scale = torch.tensor(math.log(1 / 0.07), requires_grad=True)
    named = {NAMES[q]: value for q, value in inputs.items()}
    loss = sum(dual_info_nce(named, scale, **TOTALS[total]).values())
    loss.backward()
    assert loss.item() == pytest.approx(float(data[f"{group}/{total}/loss"]), abs=1e-6)
    for q, value in inputs.items():
        theirs = torch.tensor(data[f"{group}/{total}/grad_{q}"])
        assert_close(value.grad, theirs, atol=1e-6, rtol=1e-5)
    theirs = torch.tensor(data[f"{group}/{total}/grad_logscale"])
    assert_close(scale.grad, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("size", "least"), [(16, 1.554), (32, 1.790)])
def test_perfect_pairs_reach_the_least_value_that_smoothing_allows(size, least):
    """At the scale where smoothed cross-entropy is smallest; 2.75 terms of 0.5650 for 16 pairs."""
    best = math.log(0.9 * size / 0.1 + 1)
    vectors = dict.fromkeys(NAMES.values(), torch.eye(size))
    losses = dual_info_nce(vectors, torch.tensor(math.log(best)), **TOTALS["singeo_cnn_total"])
    assert float(sum(losses.values())) == pytest.approx(least, abs=1e-3)


def test_terms_without_weight_or_without_their_positive_are_left_out():
    vectors = {"ground": torch.eye(3), "aerial": torch.eye(3), "ground_2": torch.eye(3)}
    losses = dual_info_nce(vectors, torch.tensor(1.0), cross=(0.25, 0.25, 0.25), alike=0.5)
    assert set(losses) == {"ground-aerial", "ground-ground_2", "ground_2-aerial"}
