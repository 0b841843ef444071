"""CVFT against an exact transport, slow loops, and the numbers of its authors' code."""

import itertools
import math
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from torch import nn
from torch.nn.functional import normalize, softplus

from crossview.errors import InvalidValue
from crossview.methods import cvft
from crossview.training.contract import example_batch
from crossview.training.cost import count_cost

# What the suites over all methods ask (tests/contract/settings.py).
TINY = {
    "backbone": "test_resnet",
    "weights": "none",
    "ground_px": (32, 128),
    "aerial_px": (128, 128),
    "channels": 16,
    "batch": 4,
}
RELEASE = {
    "backbone": "vgg16.tv_in1k",
    "frozen": 3,
    "ground_px": (112, 616),
    "aerial_px": (256, 256),
    "whole": True,
    "channels": 64,
    "sharpness": 100.0,
    "rounds": 20,
    "alpha": 10.0,
    "batch": 32,
    "epochs": 100.0,
    "lr": 1e-5,
    "weight_decay": 0.0,
}
RELEASES = {
    "cvusa": RELEASE | {"negatives_from_m": 0.0},
    "cvact": RELEASE | {"negatives_from_m": 25.0},
}
SETTINGS = cvft.Config(weights="none", rounds=3, sharpness=10.0)


def draw_costs(count, size, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, size, size, generator=draw, dtype=torch.float64)


def test_a_plan_is_rows_and_columns_divided_by_their_sums_in_turns():
    """The definition, without logarithms, one number at a time."""
    costs, size = draw_costs(2, 4), 4
    plans = cvft.make_plan(costs, 5.0, 7)
    for cost, plan in zip(costs.tolist(), plans, strict=True):
        slow = [[math.exp(-5.0 * value) for value in row] for row in cost]
        for _ in range(7):
            slow = [[value / sum(row) for value in row] for row in slow]
            sums = [sum(row[j] for row in slow) for j in range(size)]
            slow = [[value / sums[j] for j, value in enumerate(row)] for row in slow]
        torch.testing.assert_close(plan, torch.tensor(slow, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(4))
def test_a_sharp_plan_is_the_exact_transport(seed):
    """Of equal shares: the best assignment, which a linear program finds as well."""
    (cost,) = draw_costs(1, 6, seed)
    plan = cvft.make_plan(cost[None], 2000.0, 3000)[0].numpy()
    rows, columns = linear_sum_assignment(cost.numpy())
    exact = np.zeros((6, 6))
    exact[rows, columns] = 1.0
    np.testing.assert_allclose(plan, exact, atol=1e-3)
    sums = np.array(
        [np.kron(np.eye(6)[i], np.ones(6)) for i in range(6)]
        + [np.kron(np.ones(6), np.eye(6)[j]) for j in range(6)]
    )
    program = linprog(cost.numpy().ravel(), A_eq=sums, b_eq=np.ones(12))
    assert (plan * cost.numpy()).sum() == pytest.approx(program.fun, abs=1e-3)


def test_a_blunt_plan_costs_what_a_general_solver_finds_with_its_entropy():
    """Its distance from the optimum of <P, C> + sum P log P / sharpness, over two free numbers."""
    (cost,) = draw_costs(1, 2)
    plan = cvft.make_plan(cost[None], 3.0, 200)[0]

    def measure(share):
        tried = torch.tensor([[share, 1 - share], [1 - share, share]], dtype=torch.float64)
        return float((tried * cost + torch.xlogy(tried, tried) / 3.0).sum())

    best = min(np.linspace(0.001, 0.999, 9999), key=measure)
    assert float(plan[0, 0]) == pytest.approx(best, abs=2e-4)


def test_columns_sum_to_one_exactly_and_rows_nearly():
    plans = cvft.make_plan(draw_costs(3, 16) * 0.02, 100.0, 20)
    torch.testing.assert_close(plans.sum(dim=1), torch.ones(3, 16, dtype=torch.float64))
    torch.testing.assert_close(plans.sum(dim=2), torch.ones(3, 16).double(), rtol=0, atol=1e-3)


def test_costs_that_would_overflow_give_a_plan_in_logarithms():
    costs = torch.tensor([[[0.0, 90.0], [90.0, 0.0]]])  # exp(-9000) is 0 in any float
    torch.testing.assert_close(cvft.make_plan(costs, 100.0, 20)[0], torch.eye(2))
    assert torch.isfinite(cvft.make_plan(-costs, 100.0, 20)).all()


def test_plan_and_transport_have_the_gradients_of_their_differences():
    costs = draw_costs(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: cvft.make_plan(c, 5.0, 6), costs)
    torch.manual_seed(0)
    transport = cvft.Transport(3, (2, 3), SETTINGS).double()
    maps = torch.rand(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transport, maps)


def test_each_place_gets_the_mean_of_what_its_column_of_the_plan_sends():
    torch.manual_seed(1)
    transport = cvft.Transport(3, (2, 3), SETTINGS).double()
    maps = torch.rand(2, 3, 2, 3, dtype=torch.float64)
    moved, plan = transport(maps), transport.plan(maps)
    for b, c, row, column in itertools.product(range(2), range(3), range(2), range(3)):
        to = 3 * row + column
        slow = sum(
            float(plan[b, 3 * r + k, to].detach() * maps[b, c, r, k])
            for r in range(2)
            for k in range(3)
        )
        assert float(moved[b, c, row, column].detach()) == pytest.approx(slow, rel=1e-12)


def test_the_costs_are_a_linear_map_of_one_rectified_channel_and_begin_as_an_identity():
    transport = cvft.Transport(3, (2, 2), SETTINGS)
    assert torch.equal(transport.costs.bias, torch.eye(4).flatten())
    assert 0.003 < float(transport.costs.weight.std()) < 0.006
    maps = torch.rand(1, 3, 2, 2)
    salient = torch.relu(transport.squeeze(maps)).flatten()
    costs = (transport.costs.weight @ salient + transport.costs.bias).reshape(1, 4, 4)
    expected = cvft.make_plan(costs, SETTINGS.sharpness, SETTINGS.rounds)
    torch.testing.assert_close(transport.plan(maps), expected)
    still = cvft.make_plan(torch.eye(4)[None], 100.0, 20)[0]  # as it is before any training
    torch.testing.assert_close(still, (1 - torch.eye(4)) / 3)


@pytest.mark.parametrize(("size", "to"), [((4, 20), (8, 8)), ((5, 3), (2, 4))])
def test_a_map_is_resized_by_reading_between_its_pixels_from_the_corner_on(size, to):
    maps = torch.rand(2, 3, *size)
    resized = cvft.Resampling(size, to)(maps)
    slow = torch.zeros(2, 3, *to)
    for row, column in itertools.product(range(to[0]), range(to[1])):
        y, x = row * size[0] / to[0], column * size[1] / to[1]
        top, left = int(y), int(x)
        below, right = min(top + 1, size[0] - 1), min(left + 1, size[1] - 1)
        upper = maps[..., top, left] * (1 - x + left) + maps[..., top, right] * (x - left)
        lower = maps[..., below, left] * (1 - x + left) + maps[..., below, right] * (x - left)
        slow[..., row, column] = upper * (1 - y + top) + lower * (y - top)
    torch.testing.assert_close(resized, slow)


@pytest.mark.parametrize(
    ("size", "half"), [((7, 39), (4, 20)), ((16, 16), (8, 8)), ((3, 4), (2, 2))]
)
def test_the_reduction_is_padded_as_same_at_stride_two(size, half):
    """Of an even side the far edge alone; output i looks at three pixels, from 2 i - before on."""
    conv, maps = cvft.Reduction(2, 3, size), torch.rand(1, 2, *size)
    reduced = conv(maps)
    assert tuple(reduced.shape[2:]) == half == conv.size
    before = [side % 2 for side in size]
    for row, column in itertools.product(range(half[0]), range(half[1])):
        total = conv.bias.detach().clone()
        for dy, dx in itertools.product(range(3), range(3)):
            y, x = 2 * row + dy - before[0], 2 * column + dx - before[1]
            if 0 <= y < size[0] and 0 <= x < size[1]:
                total += conv.weight.detach()[:, :, dy, dx] @ maps[0, :, y, x]
        torch.testing.assert_close(reduced[0, :, row, column].detach(), total)


def test_the_network_has_the_published_size_and_its_vector():
    """30.3 M parameters; both maps are 64 channels of 8 x 8."""
    config = cvft.Config(weights="none")
    with torch.device("meta"):
        network = cvft.build(config)
    assert network.aerial.reduction.size == (8, 8)
    assert network.ground.reduction.size == (4, 20)
    cost = count_cost(network, cvft.views(config))
    assert cost.parameters / 1e6 == pytest.approx(30.29, abs=0.005)
    assert cost.macs / 1e9 == pytest.approx(41.21, abs=0.005)


@pytest.mark.parametrize("apart_m", [0.0, 25.0])
def test_the_loss_is_that_of_all_triplets_but_for_near_negatives(apart_m):
    config = cvft.Config(**TINY, negatives_from_m=apart_m)
    torch.manual_seed(2)
    model = cvft.build(config).eval()
    batch = example_batch(cvft.views(config), torch.device("cpu"))
    metres = torch.tensor([[0, 20, 30, 40], [20, 0, 50, 60], [30, 50, 0, 5], [40, 60, 5, 0.0]])
    batch = replace(batch, apart_m=metres if apart_m else None)
    (loss,) = cvft.objective(model, batch, config).values()
    ground, aerial = model.ground(batch.ground), model.aerial(batch.aerial)
    d = 2.0 - 2.0 * (ground @ aerial.T).detach()
    terms = [
        float(softplus(10.0 * (d[i, i] - wrong)))
        for i in range(4)
        for j in range(4)
        if i != j and metres[i, j] >= apart_m
        for wrong in (d[i, j], d[j, i])
    ]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_panorama_meets_its_window_once_its_features_are_where_the_windows_are():
    """With a plan that undoes a shuffle, the ground vector is the aerial one."""
    torch.manual_seed(3)
    maps, order = torch.rand(1, 5, 2, 2), [2, 0, 3, 1]
    shuffled = maps.flatten(2)[..., order].reshape(maps.shape)
    transport = cvft.Transport(5, (2, 2), cvft.Config(weights="none"))
    costs = torch.ones(4, 4)
    costs[range(4), order] = 0.0  # position i holds what belongs to order[i]
    with torch.no_grad():
        transport.costs.weight.zero_()
        transport.costs.bias.copy_(costs.flatten())
        moved = transport(shuffled)
    torch.testing.assert_close(normalize(moved.flatten(1)), normalize(maps.flatten(1)))


def test_pretrained_blocks_one_to_three_are_frozen_and_nothing_else():
    config = cvft.Config(weights="some.safetensors")
    layers = {f"aerial.trunk.stages.layer{n}.weight" for n in (0, 2, 5, 7, 10, 12, 14)}
    free = {f"aerial.trunk.stages.layer{n}.weight" for n in (17, 19, 21, 24, 26, 28)}
    others = {"ground.transport.1.costs.weight", "ground.reduction.bias"}
    assert {cvft.rate(name, config) for name in layers} == {0.0}
    assert {cvft.rate(name, config) for name in free | others} == {1.0}
    assert {cvft.rate(name, cvft.Config(weights="none")) for name in layers} == {1.0}
    resnet = cvft.Config(**TINY | {"weights": "some.safetensors"})
    assert cvft.rate("aerial.trunk.stages.layer1.0.conv1.weight", resnet) == 1.0


def test_twenty_rounds_run_outside_of_torch(tmp_path):
    """Unrolled, for costs that are beyond what exp can hold."""

    class Plan(nn.Module):
        def forward(self, cost):
            return cvft.make_plan(cost, 100.0, 20)

    costs = 50.0 * torch.rand(2, 9, 9)
    file = str(tmp_path / "plan.onnx")
    torch.onnx.export(Plan().eval(), (costs,), file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file)
    (found,) = session.run(None, {session.get_inputs()[0].name: costs.numpy()})
    np.testing.assert_allclose(found, Plan()(costs), atol=1e-5)


def test_pictures_of_another_size_are_refused_by_name():
    model = cvft.build(cvft.Config(**TINY))
    with pytest.raises(InvalidValue, match=r"takes pictures of 128 x 32 pixels, got 32 x 32"):
        model.ground(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"sharpness": 0.0}, "sharpness must be above 0, got 0.0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"frozen": 6}, "frozen must lie in 0..5 blocks, got 6"),
    ],
)
def test_impossible_settings_are_refused(wrong, said):
    with pytest.raises(InvalidValue, match=said):
        cvft.Config(**wrong)
