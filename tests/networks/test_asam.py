"""SAM and ASAM: the step against plain loops in float64, and against what the papers ask of it."""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training import tiny
from torch import nn

from crossview.errors import InvalidValue
from crossview.networks.asam import climb
from crossview.pairs.batch import to_batch
from crossview.pairs.loading import Loader
from crossview.pairs.page_ref import PageRef
from crossview.training.contract import TrainingRecipe
from crossview.training.loop import epoch_order, train_steps
from crossview.training.session import prepare, start_state
from crossview.training.train_state import make_state

RHO = 0.7
KINDS = [pytest.param(True, id="asam"), pytest.param(False, id="sam")]


class Wave(nn.Module):
    """A loss with curvature everywhere, over a matrix and a vector; its gradient is known."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.3, -2.0], [1.1, 0.0]], dtype=torch.float64))
        self.vector = nn.Parameter(torch.tensor([0.5, -0.1, 4.0], dtype=torch.float64))
        self.idle = nn.Parameter(torch.tensor([9.0], dtype=torch.float64))

    def loss(self):
        return (self.matrix.sin() * 3).sum() + (self.vector**3).sum() * self.matrix[0, 0]

    def plain(self):
        return [*self.matrix.detach().flatten().tolist(), *self.vector.detach().tolist()]


def plain_gradient(weights):
    """Of ``Wave.loss``, by hand."""
    gradient = [3 * math.cos(w) for w in weights[:4]]
    gradient[0] += sum(w**3 for w in weights[4:])
    return [*gradient, *(3 * w**2 * weights[0] for w in weights[4:])]


def plain_climb(weights, gradient, rho, adaptive):
    """One weight after the other."""
    squares = 0.0
    for w, g in zip(weights, gradient, strict=True):
        squares += (g * abs(w)) ** 2 if adaptive else g**2
    climbed = []
    for w, g in zip(weights, gradient, strict=True):
        size = w**2 if adaptive else 1.0
        climbed.append(w + rho * size * g / math.sqrt(squares))
    return climbed


def plain_adamw(weights, gradients, recipe):
    """AdamW with the gradients of each step given by a function; vectors are not decayed."""
    first, second = [0.0] * len(weights), [0.0] * len(weights)
    for step in range(1, 4):
        given = gradients(weights)
        for n, g in enumerate(given):
            decay = recipe.weight_decay if n < 4 else 0.0
            weights[n] -= recipe.lr * decay * weights[n]
            first[n] = 0.9 * first[n] + 0.1 * g
            second[n] = 0.999 * second[n] + 0.001 * g * g
            mean, square = first[n] / (1 - 0.9**step), second[n] / (1 - 0.999**step)
            weights[n] -= recipe.lr * mean / (math.sqrt(square) + recipe.eps)
    return weights


@pytest.mark.parametrize("adaptive", KINDS)
def test_three_steps_are_those_of_plain_loops(adaptive):
    recipe = TrainingRecipe(lr=0.05, weight_decay=0.03)
    model = Wave()
    state = make_state(model, recipe)
    expected = plain_adamw(
        model.plain(),
        lambda w: plain_gradient(plain_climb(w, plain_gradient(w), RHO, adaptive)),
        recipe,
    )
    for _ in range(3):
        state.optimiser.zero_grad()
        model.loss().backward()
        with climb(state.optimiser, RHO, adaptive=adaptive):
            model.loss().backward()
        state.optimiser.step()
    assert model.plain() == pytest.approx(expected, rel=1e-12)
    assert model.idle.item() == 9.0


@pytest.mark.parametrize("adaptive", KINDS)
def test_no_step_of_that_size_raises_the_loss_more(adaptive):
    """The second derivation: of all e with |e / t| = rho, the one with the largest g . e."""
    model = Wave()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    model.loss().backward()
    weights, gradient = np.array(model.plain()), np.array(plain_gradient(model.plain()))
    with climb(optimiser, RHO, adaptive=adaptive):
        step = np.array(model.plain()) - weights
    sizes = np.abs(weights) if adaptive else np.ones_like(weights)
    moved = sizes > 0
    assert np.linalg.norm(step[moved] / sizes[moved]) == pytest.approx(RHO)
    assert (step[~moved] == 0).all()
    others = np.random.default_rng(0).standard_normal((10_000, len(weights)))
    others *= RHO * sizes / np.linalg.norm(others[:, moved], axis=1, keepdims=True)
    assert (others @ gradient).max() < step @ gradient


def test_the_radius_of_asam_does_not_depend_on_the_scale_of_a_layer():
    """What ASAM is for: weights that are twice as large and are halved again are the same net."""
    losses = []
    for scale in (1.0, 8.0):
        weight = nn.Parameter(torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64) * scale)
        (weight / scale).sin().sum().backward()
        with climb(torch.optim.SGD([weight], lr=1.0), RHO, adaptive=True):
            losses.append((weight / scale).sin().sum().item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_the_weights_are_back_bit_for_bit_even_after_an_error():
    weight = nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    optimiser = torch.optim.AdamW([weight])
    weight.square().sum().backward()
    with pytest.raises(ZeroDivisionError), climb(optimiser, 0.1, adaptive=True):
        assert not torch.equal(weight, before)
        assert weight.grad is None
        raise ZeroDivisionError
    assert torch.equal(weight, before)


def test_a_gradient_of_zero_leaves_the_weights_where_they_are():
    weight = nn.Parameter(torch.ones(3))
    (weight * 0).sum().backward()
    with climb(torch.optim.SGD([weight], lr=1.0), 1.0, adaptive=False):
        assert torch.equal(weight, torch.ones(3))


IN_HALVES = """

def encode(model, batch, config):
    model.seen.add_(1)
    return {
        "ground": F.normalize(F.dropout(model.ground(batch.ground), config.dropout), dim=1),
        "aerial": F.normalize(F.dropout(model.aerial(batch.aerial), config.dropout), dim=1),
    }


def contrast(model, vectors, config):
    return {"info_nce": info_nce(vectors["ground"], vectors["aerial"], model.scale)}


def objective(model, batch, config):
    return contrast(model, encode(model, batch, config), config)


def build(config):
    model = Network(config.width)
    model.register_buffer("seen", torch.zeros(()))
    return model
"""


def two_passes(folder: Path, out: str, **settings):
    """A training by SAM of a page in halves with dropout, and a buffer that counts passes."""
    page = folder / "twice.py"
    text = tiny.PAGE.read_text(encoding="utf-8") + IN_HALVES
    more = "seed: int = 1\n    rho: float = 0.0\n    adaptive: bool = True\n    chunk: int = 0"
    more += "\n    accumulate: int = 1\n    amp: bool = False\n    clip_norm: float = 0.0"
    more += "\n    dropout: float = 0.1"
    more += '\n    refresh_epochs: int = 0\n    mine_from: str = "epoch"'
    page.write_text(text.replace("seed: int = 1", more), encoding="utf-8")
    ref = PageRef.of_file(page)
    asked = tiny.request(folder, out=out)
    config = ref.load().Config(**{**tiny.SMALL, "rho": 0.5, "seed": 3, **settings})
    return replace(asked, page=ref, config=config)


def run_steps(request, count):
    session = prepare(request)
    state = start_state(session)
    with Loader(session.reader, 0) as loader:
        reports = list(islice(train_steps(state, session.job, loader), count))
    return state, reports


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes(), (folder / "state.safetensors").read_bytes()


def test_a_training_in_two_passes_is_resumed_bit_for_bit(tmp_path):
    """With dropout, accumulation, chunks, clipping and mining at once."""
    settings = {"accumulate": 2, "chunk": 2, "clip_norm": 1.0, "amp": True, "refresh_epochs": 1}
    whole = two_passes(tmp_path, "whole", **settings)
    tiny.trained(whole)
    left = replace(whole, out=tmp_path / "left")
    tiny.trained(left, 2)
    tiny.trained(left, 4)
    tiny.trained(left)
    assert weights_of(whole.out) == weights_of(left.out)


def test_chunks_give_the_step_of_the_whole_batch(tmp_path):
    states = []
    for chunk in (0, 1, 3):
        request = two_passes(tmp_path, f"chunk{chunk}", chunk=chunk, dropout=0.0)
        states.append(run_steps(request, 3)[0].model.state_dict())
    for state in states[1:]:
        for name, value in states[0].items():
            if name != "seen":
                torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6)


def test_the_step_of_accumulated_batches_is_that_of_their_mean(tmp_path):
    """Climbing by the mean gradient of both, then by the mean gradient of both up there."""
    request = two_passes(tmp_path, "run", accumulate=2)
    session = prepare(request)
    state = start_state(session)
    page, job = session.job.method, session.job
    with Loader(session.reader, 0) as loader:
        raws = list(loader.epoch(0, epoch_order(job, 0, None)))[:2]

    def pass_once(model):
        for number, raw in enumerate(raws):
            torch.manual_seed(job.recipe.seed * 1_000_003 + number)
            batch = to_batch(raw, job.views, job.device)
            (sum(page.objective(model, batch, job.config).values()) / 2).backward()

    pass_once(state.model)
    with climb(state.optimiser, 0.5, adaptive=True):
        pass_once(state.model)
    expected = {n: p.grad for n, p in state.model.named_parameters()}
    trained, _ = run_steps(replace(request, out=tmp_path / "again"), 1)
    for name, parameter in trained.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-7)


def test_what_is_noted_and_reported_is_of_the_weights_themselves(tmp_path):
    """Losses, vectors and buffers are those of a training in one pass, of the same first step."""
    settings = {"refresh_epochs": 1, "accumulate": 2}
    twice, reports = run_steps(two_passes(tmp_path, "twice", **settings), 1)
    once, plain = run_steps(two_passes(tmp_path, "once", rho=1e-9, **settings), 1)
    assert reports[0].losses == plain[0].losses
    assert twice.model.seen.item() == once.model.seen.item() == 2.0
    for name, kept in twice.memory.tensors().items():
        assert torch.equal(kept, once.memory.tensors()[name])
    gradients = [state.model.scale.grad.item() for state in (twice, once)]
    assert abs(gradients[0] - gradients[1]) > 0.01  # but not what the step is made of


def test_a_radius_below_zero_is_refused():
    with pytest.raises(InvalidValue, match=r"rho must be a number of at least 0, got -1"):
        TrainingRecipe(rho=-1.0)
