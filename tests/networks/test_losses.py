import math

import numpy as np
import pytest
import torch
from tests.shared_data import shared
from torch.testing import assert_close

from crossview.networks.layout_masks import Layout, apply_masks, random_masks
from crossview.networks.losses import (
    counterfactual,
    dual_info_nce,
    info_nce,
    learned_scale,
    soft_margin_triplet,
    weigh_exemplars,
)


def slow_info_nce(ground, aerial, scale, smoothing):
    """The double sum of the paper, in plain numbers."""

    def one_way(a, b):
        total = 0.0
        for i in range(len(a)):
            logits = [scale * float(a[i] @ b[j]) for j in range(len(b))]
            log_sum = math.log(sum(math.exp(x) for x in logits))
            for j, x in enumerate(logits):
                weight = smoothing / len(b) + (1 - smoothing) * (i == j)
                total -= weight * (x - log_sum)
        return total / len(a)

    ground = ground / ground.norm(dim=1, keepdim=True)
    aerial = aerial / aerial.norm(dim=1, keepdim=True)
    return (one_way(ground, aerial) + one_way(aerial, ground)) / 2


def test_info_nce_equals_the_sums_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    ground = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    aerial = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    fast = info_nce(ground, aerial, torch.tensor(math.log(5.0), dtype=torch.float64), 0.1)
    assert float(fast) == pytest.approx(slow_info_nce(ground, aerial, 5.0, 0.1), abs=1e-12)


def test_the_scale_starts_at_one_over_0_07_and_is_learned():
    assert learned_scale().exp().item() == pytest.approx(1 / 0.07)
    assert learned_scale().requires_grad


def test_perfect_pairs_reach_the_least_info_nce_that_smoothing_allows():
    ground = torch.eye(16)
    value = info_nce(ground, ground, torch.tensor(math.log(1000.0)), 0.0)
    assert float(value) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("group", ["n8_rand", "n8_near", "n32_rand", "n32_near"])
@pytest.mark.parametrize("scale", ["14.2857", "30.0000"])
def test_info_nce_and_its_gradients_are_those_of_the_authors_code(group, scale):
    data = np.load(shared("parity", "losses.npz"))
    name = f"{group}/sample4geo_infonce_scale{scale}"
    inputs = [torch.tensor(data[f"{group}/{s}"], requires_grad=True) for s in ("ground", "aerial")]
    log_scale = torch.tensor(math.log(1 / 0.07 if scale[0] == "1" else 30.0), requires_grad=True)
    loss = info_nce(*inputs, log_scale)
    loss.backward()
    assert_close(loss.item(), float(data[f"{name}/loss"]), atol=1e-6, rtol=1e-6)
    tolerance = {"atol": 1e-6, "rtol": 1e-5}
    assert_close(inputs[0].grad, torch.tensor(data[f"{name}/grad_ground"]), **tolerance)
    assert_close(inputs[1].grad, torch.tensor(data[f"{name}/grad_aerial"]), **tolerance)
    assert_close(log_scale.grad, torch.tensor(data[f"{name}/grad_logscale"]), **tolerance)


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


@pytest.fixture(scope="module")
def official():
    return np.load(shared("parity", "losses.npz"))


def leaf(array, dtype=torch.float64):
    return torch.tensor(array, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("group", ["n8_rand", "n8_near", "n32_rand", "n32_near"])
@pytest.mark.parametrize(
    "name",
    [
        *("geodtr_triplet", "geodtrplus_triplet"),
        *("l2ltr_triplet_diag_kept", "saig_triplet_diag_kept", "saig_semi_topk"),
    ],
)
def test_the_triplet_loss_and_its_gradients_are_the_authors(official, group, name):
    aerial, ground = (leaf(official[f"{group}/{view}"]) for view in ("aerial", "ground"))
    loss = soft_margin_triplet(
        ground,
        aerial,
        keep_diagonal=name.endswith("diag_kept"),
        nearest=math.isqrt(len(ground)) if name == "saig_semi_topk" else 0,
    )
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
    counterfactual(apply_masks(feature, masks), apply_masks(feature, fake)).backward()
    for ours, side in ((feature, "feature"), (masks, "descriptor")):
        theirs = official[f"{group}/geodtr_cfloss_through_features/grad_{side}"]
        np.testing.assert_allclose(ours.grad, theirs, atol=1e-6, rtol=1e-4)


def test_modulation_is_what_the_authors_vectors_are(official):
    feature, masks = (torch.tensor(official[f"n8_cf/{n}"]) for n in ("feature", "descriptor"))
    np.testing.assert_allclose(
        apply_masks(feature, masks), official["n8_cf/embedding"], atol=1e-6, rtol=1e-5
    )


def test_modulation_is_a_sum_over_positions_flattened_channel_by_channel():
    features, masks = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
    slow = torch.einsum("bcn,bnk->bck", features, masks).reshape(2, 12)
    torch.testing.assert_close(apply_masks(features, masks), slow / slow.norm(dim=1, keepdim=True))
    by_mask = apply_masks(features, masks, mask_major=True).reshape(2, 4, 3)
    torch.testing.assert_close(by_mask.transpose(1, 2).reshape(2, 12), apply_masks(features, masks))


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


def test_the_nearest_negatives_of_every_anchor_are_those_of_a_sorted_loop():
    torch.manual_seed(0)
    ground, aerial = (torch.nn.functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    d = [[2 - 2 * float(ground[i] @ aerial[j]) for j in range(5)] for i in range(5)]
    terms = []
    for i in range(5):
        for wrong in ([d[i][j] for j in range(5) if j != i], [d[j][i] for j in range(5) if j != i]):
            terms += [math.log(1 + math.exp(10 * (d[i][i] - w))) for w in sorted(wrong)[:2]]
    loss = soft_margin_triplet(ground, aerial, nearest=2).item()
    assert loss == pytest.approx(sum(terms) / 20, rel=1e-5)
    every = soft_margin_triplet(ground, aerial, nearest=99).item()
    assert every == soft_margin_triplet(ground, aerial).item()


def test_pairs_that_are_no_negatives_are_left_out_of_all_and_of_the_nearest():
    torch.manual_seed(0)
    ground, aerial = (torch.nn.functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    wrong = torch.rand(5, 5) > 0.4
    wrong[2] = False  # the third window has no negative at all
    d = [[2 - 2 * float(ground[i] @ aerial[j]) for j in range(5)] for i in range(5)]
    for nearest in (0, 2):
        means = []
        for by_ground in (False, True):
            terms = []
            for i in range(5):
                pairs = [(i, j) if by_ground else (j, i) for j in range(5) if j != i]
                far = sorted(d[g][a] for g, a in pairs if wrong[a, g])[: nearest or 5]
                terms += [math.log(1 + math.exp(10 * (d[i][i] - w))) for w in far]
            means.append(sum(terms) / len(terms))
        loss = soft_margin_triplet(ground, aerial, nearest=nearest, wrong=wrong).item()
        assert loss == pytest.approx(sum(means) / 2, rel=1e-5)


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
    layout = Layout(apply_masks(features, masks), features, masks, (2, 3))
    assert random_masks(layout, 0.0, 1.0) != random_masks(layout, 0.0, 1.0)


def test_exemplars_weigh_by_their_difficulty_between_two_bounds():
    """The rule number by number: easy ones by themselves, hard ones no more than equal ones."""
    difference = torch.linspace(-4, 4, 33, dtype=torch.float64)
    for margin, easy in ((1.5, 0.0), (3.0, 0.1), (0.0, 0.2)):
        slow = []
        for delta in difference.tolist():
            p = 1.0 / (1.0 + math.exp(delta + margin / 2))  # that the wrong picture is the farther
            weight = -math.log2(p)
            low, high = (
                -math.log2(1.0 / (1.0 + math.exp(at + margin / 2))) for at in (-margin, 0.0)
            )
            slow.append(easy if weight < low else min(weight, high))
        found = weigh_exemplars(difference, margin, easy=easy)
        torch.testing.assert_close(found, torch.tensor(slow, dtype=torch.float64))
    assert not weigh_exemplars(
        difference.requires_grad_(), 1.0, easy=0.0, through=False
    ).requires_grad


def test_only_exemplars_between_the_bounds_have_gradients_and_half_precision_keeps_its_digits():
    difference = torch.tensor([-2.0, -0.5, 0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(weigh_exemplars(difference, 1.0, easy=0.1).sum(), difference)
    assert gradient.tolist() == pytest.approx([0.0, 0.5 / math.log(2.0), 0.0])
    assert weigh_exemplars(torch.zeros(2).bfloat16(), 1.0, easy=0.0).dtype == torch.float32
