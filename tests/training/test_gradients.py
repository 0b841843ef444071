from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from crossview.errors import InvalidValue
from crossview.methods import sample4geo, singeo
from crossview.training.contract import example_batch
from crossview.training.loop import Objective, backward

TINY = {"backbone": "test_convnext", "weights": "none", "aerial_px": 64, "ground_px": (32, 192)}


def gradients(page, config, batch, **settings):
    torch.manual_seed(3)
    model = page.build(config).double()
    passed = backward(model, batch, Objective(page=page, config=config, amp=False, **settings))
    return passed, {n: p.grad for n, p in model.named_parameters()}


def doubled(batch):
    """In float64, so that what is compared is the algorithm and not the rounding."""
    return SimpleBatch(batch.ground.double(), batch.aerial.double())


@dataclass
class SimpleBatch:
    ground: torch.Tensor
    aerial: torch.Tensor

    def __len__(self):
        return len(self.ground)

    def part(self, start, stop):
        return SimpleBatch(self.ground[start:stop], self.aerial[start:stop])

    @property
    def more(self):
        return (SimpleBatch(self.ground[..., :60].flip(3), self.aerial.rot90(1, (2, 3))),)


@pytest.mark.parametrize("chunk", [1, 2, 3])
@pytest.mark.parametrize("page", [sample4geo, singeo])
def test_chunks_give_the_gradients_of_the_whole_batch(page, chunk):
    config = page.Config(**TINY)
    batch = doubled(example_batch(page.views(config), torch.device("cpu")))
    whole, expected = gradients(page, config, batch)
    cached, ours = gradients(page, config, batch, chunk=chunk)
    assert cached.losses == pytest.approx(whole.losses, rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-5)
    for name, vectors in whole.vectors.items():
        torch.testing.assert_close(cached.vectors[name], vectors)


class Noisy(nn.Module):
    """Drops half of its input, differently in every pass unless it is seeded."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6))


def test_dropout_draws_the_same_in_both_passes_of_a_chunk():
    seen = []

    def encode(model, batch, config):
        kept = (torch.rand(len(batch), 6) > 0.5).float()
        seen.append(kept)
        return {"ground": kept * model.weight}

    page = SimpleNamespace(
        encode=encode,
        contrast=lambda model, vectors, config: {"sum": vectors["ground"].square().sum()},
    )
    model = Noisy()
    batch = SimpleBatch(torch.zeros(4, 1), torch.zeros(4, 1))
    backward(model, batch, Objective(page=page, config=None, amp=False, chunk=2))
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])
    expected = 2 * torch.cat(seen[:2]).sum(dim=0)
    torch.testing.assert_close(model.weight.grad, expected)


def test_a_page_in_one_piece_cannot_be_cut_into_chunks():
    page = SimpleNamespace(objective=None)
    batch = SimpleBatch(torch.zeros(4, 1), torch.zeros(4, 1))
    with pytest.raises(InvalidValue, match="encode and contrast"):
        backward(Noisy(), batch, Objective(page=page, config=None, chunk=2))
