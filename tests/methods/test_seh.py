"""SEH-like: its weights and loss against loops over single triplets."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from crossview.errors import InvalidValue
from crossview.methods import safa, seh
from crossview.training.contract import example_batch
from crossview.training.cost import count_cost

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (32, 128),
    "batch": 4,
}
CHOSEN = {  # nothing was released: SAFA's numbers and HER's
    "backbone": "vgg16.tv_in1k",
    "ground_px": (112, 616),
    "aerial_px": (112, 616),
    "polar": True,
    "whole": True,
    "masks": 8,
    "reduce": "mean",
    "alpha": 10.0,
    "margin": 0.15,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
RELEASES = {"cvusa": CHOSEN, "cvact": CHOSEN}


def small(**settings):
    return seh.Config(**(TINY | settings))


def draw_vectors(count=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    ground = torch.randn(count, 3, generator=draw, dtype=torch.float64)
    aerial = ground + 0.4 * torch.randn(count, 3, generator=draw, dtype=torch.float64)
    return normalize(ground, dim=1), normalize(aerial, dim=1)


def lose_slowly(ground, aerial, config):
    """Every anchor against every wrong picture of the other view."""
    terms = []
    for anchors, others in ((ground, aerial), (aerial, ground)):
        own = []
        for i in range(len(ground)):
            for j in range(len(ground)):
                if i == j:
                    continue
                true, wrong = (2.0 - 2.0 * float(anchors[i] @ others[k]) for k in (i, j))
                delta, margin = config.alpha * (true - wrong), config.alpha * config.margin
                weight = 0.0
                if delta >= -margin:
                    weight = math.log2(1 + math.exp(min(delta, 0.0) + margin / 2))
                own.append((weight, weight * math.log(1 + math.exp(delta))))
        kept = sum(weight > 0 for weight, _ in own)
        assert 0 < kept < len(own)
        count = len(own) if config.counted == "all" else kept
        terms.append(sum(loss for _, loss in own) / count)
    return sum(terms) / 2 if config.anchors == "both" else terms[0]


@pytest.mark.parametrize("anchors", seh.ANCHORS)
@pytest.mark.parametrize("counted", seh.COUNTED)
def test_the_loss_is_that_of_single_triplets(anchors, counted):
    config = small(anchors=anchors, counted=counted)
    for seed in range(3):
        ground, aerial = draw_vectors(seed=seed)
        (loss,) = seh.contrast(None, {"ground": ground, "aerial": aerial}, config).values()
        assert loss.item() == pytest.approx(lose_slowly(ground, aerial, config), rel=1e-9)


def test_the_loss_has_the_gradient_of_its_differences():
    views = [vector.requires_grad_() for vector in draw_vectors()]

    def value(ground, aerial):
        (loss,) = seh.contrast(None, {"ground": ground, "aerial": aerial}, small()).values()
        return loss

    assert torch.autograd.gradcheck(value, views)


def test_weights_without_gradients_leave_those_of_a_weighted_triplet_loss():
    ground, aerial = (vector.requires_grad_() for vector in draw_vectors())
    distance = 2.0 - 2.0 * ground @ aerial.T
    loss = seh.highlight(distance, small(through=False))
    (ours,) = torch.autograd.grad(loss, ground, retain_graph=True)
    expected = torch.zeros(()).double()
    for i in range(6):
        for j in (k for k in range(6) if k != i):
            delta = 10.0 * (distance[i, i] - distance[i, j])
            fixed = float(delta.detach())
            weight = math.log2(1 + math.exp(min(fixed, 0.0) + 0.75)) if fixed >= -1.5 else 0.0
            expected = expected + weight * torch.nn.functional.softplus(delta) / 30
    torch.testing.assert_close(ours, torch.autograd.grad(expected, ground)[0])


def test_batches_of_simple_triplets_alone_teach_nothing_and_are_finite():
    far = torch.eye(4, dtype=torch.float64).requires_grad_()
    for counted in seh.COUNTED:
        loss = seh.highlight(2.0 - 2.0 * far @ far.T, small(counted=counted))
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, far)
        assert not gradient.any()


def test_the_network_is_safas():
    torch.manual_seed(0)
    ours = seh.build(small()).eval()
    torch.manual_seed(0)
    theirs = safa.build(safa.Config(**TINY)).eval()
    batch = example_batch(seh.views(small()), torch.device("cpu"))
    assert torch.equal(ours.ground(batch.ground), theirs.ground(batch.ground))
    with torch.device("meta"):
        network = seh.build(seh.Config(weights="none"))
    cost = count_cost(network, seh.views(seh.Config()))
    assert cost.parameters / 1e6 == pytest.approx(29.53, abs=0.01)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"anchors": "aerial"}, "anchors must be both or ground, got 'aerial'"),
        ({"counted": "hard"}, "counted must be all or kept, got 'hard'"),
        ({"alpha": 0.0}, "alpha must be above 0, got 0.0"),
        ({"margin": -0.1}, "margin must be at least 0, got -0.1"),
        ({"masks": 0}, "masks must be at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(InvalidValue, match=said):
        small(**wrong)
