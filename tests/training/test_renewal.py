"""Batch norms that meet other pictures, against a slow obvious loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crossview.errors import InvalidValue
from crossview.pairs.batch import normalise
from crossview.training.renewal import renew_batch_norms
from crossview.views.spec import ViewSpec

SPEC = ViewSpec(side="aerial", height_px=8, width_px=8, footprint_m=10.0)


class Two(nn.Module):
    """Two norms on the aerial side, of which the second sees what the first made; one beside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.street = nn.BatchNorm2d(4), nn.BatchNorm2d(3)

    def aerial(self, x):
        return self.second(torch.relu(self.first(self.conv(x)))).flatten(1)

    def ground(self, x):
        return self.street(x).flatten(1)


@pytest.fixture
def model():
    torch.manual_seed(3)
    model = Two().eval()
    for norm in (model.first, model.second, model.street):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return model


def pictures(count=3, size=5):
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8) for _ in range(count)]


def normed(x, norm):
    """A batch normalised by its own statistics, and these, channel by channel."""
    means = torch.stack([x[:, c].mean() for c in range(x.shape[1])])
    spread = torch.stack([((x[:, c] - means[c]) ** 2).mean() for c in range(x.shape[1])])
    unbiased = spread * x[:, 0].numel() / (x[:, 0].numel() - 1)
    scaled = (x - means[:, None, None]) / torch.sqrt(spread + norm.eps)[:, None, None]
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None], means, unbiased


def test_half_of_the_old_statistics_and_half_of_the_mean_over_batches(model):
    old = {name: value.clone() for name, value in model.state_dict().items()}
    seen = {"first": [], "second": []}
    with torch.no_grad():
        for batch in pictures():
            x = model.conv(normalise(batch, SPEC, torch.device("cpu")))
            for name in ("first", "second"):
                x, *statistics = normed(x, getattr(model, name))
                seen[name].append(statistics)
                x = torch.relu(x)
    assert renew_batch_norms(model, "aerial", pictures(), SPEC) == 15
    new = model.state_dict()
    for name, values in seen.items():
        for part, statistic in (("running_mean", 0), ("running_var", 1)):
            met = torch.stack([value[statistic] for value in values]).mean(0)
            expected = 0.5 * old[f"{name}.{part}"] + 0.5 * met
            torch.testing.assert_close(new[f"{name}.{part}"], expected, rtol=1e-4, atol=1e-5)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {f"{n}.running_{p}" for n in seen for p in ("mean", "var")}


def test_the_other_side_and_the_modes_stay_as_they_were(model):
    model.second.train()
    renew_batch_norms(model, "ground", pictures(), SPEC)
    assert [model.training, model.first.training, model.second.training] == [False, False, True]
    assert model.street.momentum == 0.1


def test_a_share_of_nothing_changes_nothing(model):
    old = {name: value.clone() for name, value in model.state_dict().items()}
    renew_batch_norms(model, "aerial", pictures(), SPEC, share=0.0)
    assert all(torch.equal(old[name], value) for name, value in model.state_dict().items())


def test_without_pictures_the_statistics_stay_and_it_is_said(model):
    old = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InvalidValue, match="no aerial picture"):
        renew_batch_norms(model, "aerial", [], SPEC)
    assert all(torch.equal(old[name], value) for name, value in model.state_dict().items())
    with pytest.raises(InvalidValue, match="share"):
        renew_batch_norms(model, "aerial", pictures(), SPEC, share=2.0)
