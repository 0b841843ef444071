import math

import numpy as np
import pytest
import torch
from tests.shared_data import shared
from torch.testing import assert_close

from crossview.networks.losses import info_nce, learned_scale


def slow(ground, aerial, scale, smoothing):
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
    assert float(fast) == pytest.approx(slow(ground, aerial, 5.0, 0.1), abs=1e-12)


def test_the_scale_starts_at_one_over_0_07_and_is_learned():
    assert learned_scale().exp().item() == pytest.approx(1 / 0.07)
    assert learned_scale().requires_grad


def test_perfect_pairs_reach_the_least_value_that_smoothing_allows():
    ground = torch.eye(16)
    value = info_nce(ground, ground, torch.tensor(math.log(1000.0)), 0.0)
    assert float(value) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("group", ["n8_rand", "n8_near", "n32_rand", "n32_near"])
@pytest.mark.parametrize("scale", ["14.2857", "30.0000"])
def test_loss_and_gradients_are_those_of_the_authors_code(group, scale):
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
