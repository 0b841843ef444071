import numpy as np
import pytest
import torch

from crossview.errors import InvalidValue
from crossview.networks.azimuth import AzimuthEncoder, wrap_columns


def picture(width, *, asked):
    draw = torch.Generator().manual_seed(width)
    return torch.randn(2, 3, 4, width, generator=draw, dtype=torch.float64).requires_grad_(asked)


@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("asked", [True, False])
def test_columns_wrap_around(width, asked):
    x = picture(width, asked=asked)
    columns = [(column - 1) % width for column in range(width + 2)]
    assert torch.equal(wrap_columns(x), x[..., columns])


@pytest.mark.parametrize("width", [1, 2, 7])
def test_gradients_of_wrapped_columns_are_those_of_plain_slices(width):
    x = picture(width, asked=True)
    weights = torch.randn(2, 3, 4, width + 2, dtype=torch.float64)
    (fast,) = torch.autograd.grad((wrap_columns(x) * weights).sum(), x)
    slices = torch.cat([x[..., -1:], x, x[..., :1]], dim=3)
    (slow,) = torch.autograd.grad((slices * weights).sum(), x)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-15)


def test_a_turned_panorama_has_the_same_blocks_turned():
    """Eight columns are one bin; a turn by whole bins moves whole blocks of the vector."""
    torch.manual_seed(0)
    encoder = AzimuthEncoder((16, 64), (4, 8, 8), (0, 1, 1), 4).eval()
    strip = torch.rand(1, 3, 16, 64)
    with torch.no_grad():
        here, turned = (encoder(s).reshape(8, 4) for s in (strip, strip.roll(24, dims=3)))
    np.testing.assert_allclose(turned, here.roll(3, dims=0), atol=1e-6)


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(InvalidValue, match="multiples of 8 px, got 20 x 64"):
        AzimuthEncoder((20, 64), (4, 8, 8), (0, 1, 1), 4)
