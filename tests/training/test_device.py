"""A network laid out for a CPU: the same parameters and results, depthwise layers in float32."""

from copy import deepcopy

import torch
from torch import nn

from crossview.training.device import Float32Depthwise, lay_out

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, groups=8, bias=False), nn.GELU()),
        nn.Conv2d(16, 4, 1, groups=2),  # grouped, not depthwise
    ).eval()


def test_only_depthwise_convolutions_stay_in_float32_under_autocast():
    model = lay_out(network(), CPU)
    kinds = [type(layer) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert kinds == [nn.Conv2d, Float32Depthwise, Float32Depthwise, nn.Conv2d]
    seen = {}
    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 3, 16, 16))
    assert (seen["0"], seen["1"], seen["2.0"]) == (torch.bfloat16, torch.float32, torch.float32)


def test_names_values_gradients_and_mode_are_those_of_the_network_as_built():
    plain, images = network(), torch.randn(2, 3, 16, 16)
    ours = lay_out(deepcopy(plain), CPU)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    assert not any(layer.training for layer in ours.modules())
    for model in (plain, ours):
        model(images).square().sum().backward()
    torch.testing.assert_close(ours(images), plain(images))
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_an_optimiser_made_before_still_moves_the_laid_out_network():
    plain = network()
    optimiser = torch.optim.SGD(plain.parameters(), lr=1.0)
    ours = lay_out(plain, CPU)
    before = ours(images := torch.randn(2, 3, 16, 16)).detach()
    ours(images).sum().backward()
    optimiser.step()
    assert not torch.allclose(ours(images), before)
    assert len(list(ours.parameters())) == 7
