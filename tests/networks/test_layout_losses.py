import math

import numpy as np
import pytest
import torch
from tests.shared_data import shared

from crossview.networks.layout_masks import Layout, modulated, random_masks
from crossview.networks.losses import counterfactual, soft_margin_triplet


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "losses.npz"))


def leaf(array, dtype=torch.float64):
    return torch.tensor(array, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("group", ["n8_rand", "n8_near", "n32_rand", "n32_near"])
@pytest.mark.parametrize("name", ["geodtr_triplet", "geodtrplus_triplet"])
def test_the_triplet_loss_and_its_gradients_are_the_authors(official, group, name):
    aerial, ground = (leaf(official[f"{group}/{view}"]) for view in ("aerial", "ground"))
    loss = soft_margin_triplet(ground, aerial)
    loss.backward()
    assert loss.item() == pytest.approx(float(official[f"{group}/{name}/loss_float64"]), abs=1e-9)
    for ours, view in ((aerial, "aerial"), (ground, "ground")):
        theirs = official[f"{group}/{name}/grad_{view}"]
        np.testing.assert_allclose(ours.grad, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("group", ["n8_cf", "n32_cf"])
@pytest.mark.parametrize("name", ["geodtr_cfloss", "geodtrplus_cfloss"])
def test_the_counterfactual_loss_and_its_gradients_are_the_authors(official, group, name):
    vector, fake = (leaf(official[f"{group}/{n}"]) for n in ("embedding", "fake_embedding"))
    loss = counterfactual(vector, fake)
    loss.backward()
    assert loss.item() == pytest.approx(float(official[f"{group}/{name}/loss_float64"]), abs=1e-9)
    for ours, side in ((vector, "embedding"), (fake, "fake_embedding")):
        theirs = official[f"{group}/{name}/grad_{side}"]
        np.testing.assert_allclose(ours.grad, theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("group", ["n8_cf", "n32_cf"])
def test_gradients_reach_features_and_masks_as_in_the_authors_code(official, group):
    feature, masks = (leaf(official[f"{group}/{n}"]) for n in ("feature", "descriptor"))
    fake = torch.tensor(official[f"{group}/fake_descriptor"], dtype=torch.float64)
    counterfactual(modulated(feature, masks), modulated(feature, fake)).backward()
    for ours, side in ((feature, "feature"), (masks, "descriptor")):
        theirs = official[f"{group}/geodtr_cfloss_through_features/grad_{side}"]
        np.testing.assert_allclose(ours.grad, theirs, atol=1e-6, rtol=1e-4)


def test_modulation_is_what_the_authors_vectors_are(official):
    feature, masks = (torch.tensor(official[f"n8_cf/{n}"]) for n in ("feature", "descriptor"))
    np.testing.assert_allclose(
        modulated(feature, masks), official["n8_cf/embedding"], atol=1e-6, rtol=1e-5
    )


def test_modulation_is_a_sum_over_positions_flattened_channel_by_channel():
    features, masks = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
    slow = torch.einsum("bcn,bnk->bck", features, masks).reshape(2, 12)
    torch.testing.assert_close(modulated(features, masks), slow / slow.norm(dim=1, keepdim=True))
    by_mask = modulated(features, masks, mask_major=True).reshape(2, 4, 3)
    torch.testing.assert_close(by_mask.transpose(1, 2).reshape(2, 12), modulated(features, masks))


def test_the_triplet_loss_is_a_double_loop_over_other_places():
    torch.manual_seed(0)
    ground, aerial = (torch.nn.functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    d = [[2 - 2 * float(ground[i] @ aerial[j]) for j in range(5)] for i in range(5)]
    terms = [
        math.log(1 + math.exp(10 * (d[i][i] - d[i][j])))
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    terms += [
        math.log(1 + math.exp(10 * (d[j][j] - d[i][j])))
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    assert soft_margin_triplet(ground, aerial).item() == pytest.approx(sum(terms) / 40, rel=1e-5)


def test_equal_vectors_cost_log_2_and_hopeless_ones_stay_finite():
    same = torch.ones(4, 1)
    assert soft_margin_triplet(same, same).item() == pytest.approx(math.log(2))
    flipped = torch.tensor([[1.0], [-1.0]])
    assert soft_margin_triplet(flipped, -flipped, alpha=1e4).item() == pytest.approx(4e4)


def test_the_counterfactual_loss_is_log_2_at_no_distance_and_falls_with_it():
    one = torch.tensor([[1.0, 0.0]])
    near, far = torch.tensor([[0.8, 0.6]]), torch.tensor([[0.0, 1.0]])
    losses = [counterfactual(one, other).item() for other in (one, near, far)]
    assert losses[0] == pytest.approx(math.log(2))
    assert losses[0] > losses[1] > losses[2] > 0


def test_fake_masks_are_drawn_anew_each_time():
    torch.manual_seed(0)
    features, masks = torch.rand(2, 3, 6), torch.rand(2, 6, 4)
    layout = Layout(modulated(features, masks), features, masks, (2, 3))
    assert random_masks(layout, 0.0, 1.0) != random_masks(layout, 0.0, 1.0)
